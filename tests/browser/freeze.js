// Runs before the page of the gallery. When the page reaches the wanted screen its timers stand still, so that what lasts
// for half a second can be looked at for as long as it takes. The short ones go on: axe has some.
(() => {
  window.frozen = false;
  const SHORT = 250;
  const { setTimeout, setInterval } = window;
  const held = (call, milliseconds) => (milliseconds >= SHORT ? (...told) => window.frozen || call(...told) : call);
  window.setTimeout = (call, milliseconds = 0, ...told) => setTimeout(held(call, milliseconds), milliseconds, ...told);
  window.setInterval = (call, milliseconds) => setInterval(held(call, milliseconds), milliseconds);
  window.freezeAt = (screen) => {
    window.frozen = airlock.state === screen;
    airlock.addEventListener("state", ({ detail }) => (window.frozen ||= detail.screen === screen));
  };
})();
