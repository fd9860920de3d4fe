cdef class Masks:
    cdef unsigned int[::1] _state
    cdef object _next_seed

    cpdef choose_next(self)
