cimport cython
from relay.conversation cimport Conversation
from relay.events cimport Deltas, canonical_append
from relay.meter cimport Meter
from relay.pace cimport Bucket

cdef class Wire:
    cdef object _telemetry, _stopwatch, _browser, _model, _claims, _end, _request_id, _early, _deployments, _stalls
    cdef public object _loop
    cdef bint _is_connected, _speaks_airlock, _owes_session, _saw_garbage, _audio_appends_allowed
    cdef Py_ssize_t _early_bytes
    cdef public double last_activity
    cdef double _max_audio_in_ms
    cdef Meter _meter
    cdef Conversation _conversation
    cdef Deltas _deltas
    cdef Bucket _messages, _audio

    @cython.locals(meter=Meter, conversation=Conversation)
    cpdef _from_browser(self, bytes frame)
    cpdef _from_model(self, bytes frame)
    cdef bint _may_hear(self, Py_ssize_t audio_bytes, double now) except -1
