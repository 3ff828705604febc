// How long the pair on the screen has been looked at; time in a hidden tab does not count.

let shownAt = performance.now();
let hiddenFor = 0;
let hiddenSince = 0;

export function restart() {
  shownAt = performance.now();
  hiddenFor = 0;
  hiddenSince = document.hidden ? shownAt : 0;
}

// Milliseconds since the pair appeared.
export function sinceShown() {
  return performance.now() - shownAt;
}

export function seconds() {
  const hidden = hiddenFor + (hiddenSince ? performance.now() - hiddenSince : 0);
  return ((sinceShown() - hidden) / 1000).toFixed(2);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenSince = performance.now();
  else if (hiddenSince) {
    hiddenFor += performance.now() - hiddenSince;
    hiddenSince = 0;
  }
});
