cdef class Burst:
    cdef public bint is_on
    cdef public object _pieces

    cpdef add(self, transport, bytes frame, bytes after=*)
    cpdef write(self)

cdef class Masking:
    cdef object _take, _send

    cpdef bytes frame(self, bytes text)

cpdef bytes header(Py_ssize_t size)
