cimport picows.picows as picows
from relay.picows_burst cimport Burst, Masking
from relay.picows_connection cimport Told
from relay.picows_masks cimport Masks

cdef Burst burst
cdef Masking _masking
cdef Masks masks
cdef picows.WSMsgType _TEXT, _CONTINUATION, _PING, _PONG, _CLOSE
cdef Py_ssize_t _MAX_PLAIN_SEND_BYTES

cdef class PicowsChannel(Told):
    cdef object _max_message_bytes, _request, _loop, _message, _message_timer, _heartbeat, _lost, _measured_at
    cdef public object _transport
    cdef public picows.WSTransport _picows
    cdef public bint _is_client
    cdef bint _is_paused, _is_closing
    cdef public object on_frame, on_control, on_congestion, round_trip, ended

    cpdef send(self, bytes frame)
    cpdef on_ws_connected(self, picows.WSTransport transport)
    cpdef on_ws_frame(self, picows.WSTransport transport, picows.WSFrame frame)
    cpdef pause_writing(self)
    cpdef resume_writing(self)
    cdef _heed(self, picows.WSTransport transport, picows.WSFrame frame)
    cdef _assemble(self, picows.WSFrame frame)
    cdef _prepare(self)
