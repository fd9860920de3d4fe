cdef class Meter:
    cdef public object price, transcription_prices, tokens
    cdef public double transcription_usd, audio_in_ms, audio_out_ms
    cdef public bint has_unpriced_transcription
    cdef public Py_ssize_t bytes_in, bytes_out, refused_events
    cdef object _in_flight
    cdef public list _refused_at
    cdef double _unchecked_ms

    cpdef bint delivered(self, double audio_ms) except -1
    cpdef bint over_budget(self, limits) except -1
