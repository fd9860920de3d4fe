cimport cython

cdef object _decode_audio

cdef class AudioFormat:
    cdef readonly Py_ssize_t bytes_per_millisecond, bytes_per_sample

@cython.locals(size=Py_ssize_t)
cpdef canonical_append(bytes frame, Py_ssize_t sample_bytes)

cdef class Deltas:
    cdef bytes _head, _middle
    cdef Py_ssize_t _start

    @cython.locals(end=Py_ssize_t, size=Py_ssize_t)
    cpdef audio_bytes(self, bytes frame)
    cdef _parsed(self, bytes frame)
    cdef _learn(self, bytes frame, bytes event_id, bytes audio)
