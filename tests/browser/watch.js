// Runs before the page. Watches what the page does and changes nothing: policy violations, connections, microphones,
// audio contexts, and a tap on everything that goes to a loudspeaker. The tap needs no module, so the policy allows it.
(() => {
  const watched = { violations: [], protocols: [], tracks: [], contexts: [], heard: [] };
  window.watched = watched;
  addEventListener("securitypolicyviolation", (event) => watched.violations.push(event.violatedDirective));

  window.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      watched.protocols.push(protocols);
    }
  };

  window.AudioContext = class extends AudioContext {
    constructor(options) {
      super(options);
      watched.contexts.push(this);
    }
  };

  if (navigator.mediaDevices) {
    const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (constraints) => {
      const stream = await ask(constraints);
      watched.tracks.push(...stream.getTracks());
      return stream;
    };
  }

  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      // The largest block: a busy main thread loses the small ones, which the loudspeaker never does.
      const tap = this.context.createScriptProcessor(16384, 1, 1);
      tap.onaudioprocess = ({ inputBuffer }) => watched.heard.push(inputBuffer.getChannelData(0).slice());
      connect.call(this, tap);
      connect.call(tap, target);
    }
    return connect.call(this, target, ...rest);
  };
})();
