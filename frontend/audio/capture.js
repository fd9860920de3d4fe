/** The microphone: asking for it, and the graph that turns it into frames. Touches no page element. */

const WORKLET = new URL("./capture-worklet.js", import.meta.url);

/**
 * Asks for the microphone. Never settles while the person ignores the browser's question. Echo cancellation is what lets
 * people talk over loudspeakers; without `processing` the microphone comes as it is.
 *
 * Returns `{stream, usedDefault}`; `usedDefault` is true if the chosen device is gone and the default one was taken.
 */
export async function askForMicrophone(deviceId, processing) {
  const audio = {
    channelCount: 1,
    echoCancellation: processing,
    noiseSuppression: processing,
    autoGainControl: processing,
  };
  if (deviceId) {
    try {
      const chosen = { ...audio, deviceId: { exact: deviceId } };
      return { stream: await navigator.mediaDevices.getUserMedia({ audio: chosen }), usedDefault: false };
    } catch (error) {
      if (error.name !== "OverconstrainedError" && error.name !== "NotFoundError") throw error;
    }
  }
  return { stream: await navigator.mediaDevices.getUserMedia({ audio }), usedDefault: Boolean(deviceId) };
}

/** Which row of the copy table a failed `askForMicrophone` is. */
export function microphoneProblem(error) {
  const problems = {
    NotAllowedError: "denied",
    NotFoundError: "no-microphone",
    OverconstrainedError: "no-microphone",
    NotReadableError: "busy-microphone",
    AbortError: "busy-microphone",
    SecurityError: "insecure",
    TypeError: "old-browser",
  };
  return problems[error?.name] ?? "error";
}

export async function isGranted() {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "granted";
  } catch {
    return false; // not every browser can be asked
  }
}

export function stopTracks(stream) {
  for (const track of stream?.getTracks() ?? []) {
    track.onended = null;
    track.stop();
  }
}

/** The microphones that can be chosen. Before the first permission they have no names, and are left out. */
export async function listMicrophones() {
  const devices = await (navigator.mediaDevices?.enumerateDevices() ?? []);
  return devices.filter((device) => device.kind === "audioinput" && device.label);
}

export function loadCapture(context) {
  return context.audioWorklet.addModule(WORKLET);
}

/**
 * Calls `onFrame({samples, level, time})` every 40 ms with 24 kHz PCM16 that ended at `time` of the context, until the returned function is called.
 *
 * The context runs at the device's own rate: Firefox refuses a microphone in a context of another rate. The node is
 * connected to nothing, so the microphone can never reach the loudspeaker.
 */
export function startCapture(context, stream, onFrame) {
  const source = context.createMediaStreamSource(stream);
  const node = new AudioWorkletNode(context, "capture", {
    numberOfInputs: 1,
    numberOfOutputs: 0,
    channelCount: 1,
    channelCountMode: "explicit",
  });
  node.port.onmessage = ({ data }) => onFrame(data);
  source.connect(node);
  return () => {
    node.port.onmessage = null;
    node.port.postMessage("stop");
    source.disconnect();
  };
}
