// A worker that ticks: in the background a page's own timers hardly do.
// Takes the milliseconds between two ticks.

onmessage = ({ data }) => setInterval(() => postMessage(null), data);
