from relay.events cimport AudioFormat

cdef class Conversation:
    cdef public object effective, open_calls, in_flight, transcription_model
    cdef public AudioFormat input_format, output_format
    cdef object _out_of_band, _asked_out_of_band
