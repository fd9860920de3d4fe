cimport picows.picows as picows
from relay.picows_burst cimport Burst

cdef Burst burst

cdef class Told(picows.WSListener):
    cdef public Py_ssize_t unparsed
    cdef public bint was_heard, is_deaf
