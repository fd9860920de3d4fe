// Node before 20.10 has no WebSocket of its own; this one knows the same constructor and events.
globalThis.WebSocket = require("ws").WebSocket;
