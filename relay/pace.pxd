cimport cython

@cython.final
cdef class Bucket:
    cdef double _fills_in, _full_at, _seconds_each
    cpdef bint take(self, double amount, double now)
