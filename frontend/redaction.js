/** Events as the inspector shows them: without audio, without secrets, and short. Pure. */

const SECRET_NAME = /secret|authorization|api_?key|^value$/i;
const SECRET = /\b(?:ek_|sk-|eyJ)[\w.-]{8,}/g;
const MOST_CHARACTERS = 300;

export function redacted(event) {
	const carriesAudio = String(event.type).endsWith("audio.delta");
	return JSON.stringify(event, (name, value) => {
		if (SECRET_NAME.test(name)) return "(hidden)";
		if (typeof value !== "string") return value;
		if (name === "audio" || (name === "delta" && carriesAudio)) return `(${Math.floor(value.length * 0.75)} bytes of audio)`;
		if (value.startsWith("data:")) return `(${value.length} characters of data)`;
		const shown = value.replace(SECRET, "(hidden)");
		return shown.length > MOST_CHARACTERS ? `${shown.slice(0, MOST_CHARACTERS)}…` : shown;
	});
}
