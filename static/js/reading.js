// Reading two long responses: they scroll together, unfold on a key, and show their differences word by word.

const EXPANDED = "tandem-expanded";
let leading = null;
let release = 0;
let compared = ""; // the claim whose differences are shown

const stage = () => document.getElementById("stage");

function bodies() {
  return [...stage().querySelectorAll(".sides:not(.diff) .response-body")];
}

// The other response follows in proportion; it does not lead back.
document.addEventListener(
  "scroll",
  (event) => {
    const box = event.target;
    if (!(box instanceof Element) || !box.matches(".response-body")) return;
    if (leading !== null && leading !== box) return;
    leading = box;
    clearTimeout(release);
    release = setTimeout(() => (leading = null), 120);
    const range = box.scrollHeight - box.clientHeight;
    for (const other of bodies()) {
      if (other !== box && range > 0) other.scrollTop = (box.scrollTop / range) * (other.scrollHeight - other.clientHeight);
    }
  },
  true,
);

function unfold() {
  const expanded = localStorage.getItem(EXPANDED) === "yes";
  stage().classList.toggle("expanded", expanded);
  const button = stage().querySelector("[data-expand]");
  if (!button) return;
  button.hidden = !expanded && !bodies().some((body) => body.scrollHeight > body.clientHeight + 1);
  button.setAttribute("aria-pressed", String(expanded));
}

async function compare(button) {
  const box = stage().querySelector("#diff");
  const showing = stage().classList.toggle("comparing");
  button.setAttribute("aria-pressed", String(showing));
  compared = showing ? stage().dataset.claim : "";
  if (!showing || box.childElementCount > 0) return;
  await htmx.ajax("GET", button.dataset.diff, { target: box, swap: "innerHTML" }).catch(() => {});
  const failed = box.childElementCount === 0 && box.isConnected && stage().classList.contains("comparing");
  if (failed) compare(stage().querySelector("[data-diff]")); // back to the texts
}

// The region comes anew with the judge's verdict; what was compared before is compared still.
function resume() {
  const button = stage().querySelector("[data-diff]");
  const goesOn = compared && stage().dataset.claim === compared && !stage().classList.contains("comparing");
  if (button && goesOn) compare(button);
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("[data-expand]")) {
    localStorage.setItem(EXPANDED, localStorage.getItem(EXPANDED) === "yes" ? "no" : "yes");
    unfold();
  }
  const button = target?.closest("[data-diff]");
  if (button) compare(button);
});

// A lease is renewed while the page is open; only where that fails does a countdown matter.
const WARN_BELOW = 60;
let leaseSeen = null;
let leaseUntil = 0;

setInterval(() => {
  const lease = document.getElementById("lease");
  if (!lease || lease.dataset.left === undefined) return;
  if (lease !== leaseSeen) {
    leaseSeen = lease;
    leaseUntil = performance.now() + Number(lease.dataset.left) * 1000;
  }
  const left = Math.ceil((leaseUntil - performance.now()) / 1000);
  const text = lease.querySelector("[data-countdown]");
  if (!text) return;
  if (left > WARN_BELOW) text.textContent = "";
  else if (left > 0) text.textContent = `This pair is held for you for another ${left} s.`;
  else text.textContent = "The hold on this pair has ended: somebody else may get it too. Your verdict still counts.";
}, 1000);

document.addEventListener("tandem:shown", () => {
  unfold();
  resume();
});
addEventListener("resize", unfold);
unfold();
