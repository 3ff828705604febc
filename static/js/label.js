// The label screen: a verdict goes into the outbox, the next pair is there at once, and what is typed is kept.

import { drafts } from "./drafts.js";
import * as outbox from "./outbox.js";
import { csrf } from "./session.js";
import { restart, seconds, sinceShown } from "./stopwatch.js";

const GUARD_MS = 350; // a click this soon after a new pair appeared was meant for the pair before it
const KEY_GUARD_MS = 200; // nobody has read a pair so soon
const RESERVE = 2;
const RETRY_MS = 3000;
const TIMEOUT_MS = 20_000;

const place = document.getElementById("labelling");
const saved = document.getElementById("saved");
const status = document.getElementById("status");
const trouble = document.getElementById("trouble");
const reserve = []; // pairs that are claimed and rendered, and wait
let filling = false;
let fetching = false;
let dry = false;
let undoing = false; // from the key until the answer: meanwhile nothing else replaces the stage
let stageName = "";
let today = Number(place.dataset.today);
let undoable = ""; // the claim that an undo takes back: a second sending then takes back no other

const current = () => document.getElementById("stage");
const claimOf = (stage) => stage.dataset.claim ?? "";

function held() {
  const claims = [claimOf(current()), ...reserve.map(claimOf), ...outbox.waiting().map((entry) => entry.claim)];
  return [...new Set(claims)].filter(Boolean);
}

function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.querySelector("#stage");
}

// --- the next pair -------------------------------------------------------------------------------------------------

function keepReady(html) {
  const stage = html ? parsed(html) : null;
  if (stage && !held().includes(claimOf(stage))) reserve.push(stage);
}

function prune(stays) {
  reserve.splice(0, reserve.length, ...reserve.filter((stage) => stays(claimOf(stage))));
}

async function fill() {
  if (filling || dry || reserve.length >= RESERVE || current().dataset.stage === "empty") return;
  filling = true;
  try {
    const answer = await fetch(`${place.dataset.reserve}?held=${held().join(",")}`, {
      credentials: "same-origin",
      headers: { "X-Tandem-Login": "in-place" },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    dry = answer.status === 204;
    if (answer.ok && !dry) keepReady(await answer.text());
    filling = false;
    if (answer.ok && !dry) fill();
  } catch {
    filling = false; // the next receipt tries again
  }
}

function advance() {
  const next = reserve.shift();
  if (next) {
    current().replaceWith(next);
    htmx.process(next);
    entered();
  } else {
    fetchNext();
  }
  fill();
}

// A region by htmx; true if the network was there.
function load(address) {
  const loaded = htmx.ajax("GET", address, { target: "#stage", swap: "outerHTML" });
  return loaded.then(() => true, () => false);
}

// Asked for again until it is there or somebody has gone on.
async function showReveal(address) {
  const { stage } = current().dataset;
  if (!undoing) await load(address);
  if (current().dataset.stage === stage) setTimeout(() => current().dataset.stage === stage && showReveal(address), RETRY_MS);
}

const loading = () => current().classList.contains("loading");

async function fetchNext() {
  current().classList.add("loading");
  current().dataset.spent = "";
  if (undoing || fetching) return; // a second one would be sent after it, and replace the pair that the first brought
  fetching = true;
  await load(`${place.dataset.next}?held=${held().join(",")}`);
  fetching = false;
  if (loading()) setTimeout(() => loading() && fetchNext(), RETRY_MS);
}

function entered() {
  const stage = current();
  if (!stage || stage.dataset.stage === stageName) return;
  const before = stageName;
  stageName = stage.dataset.stage;
  prune((claim) => claim !== claimOf(stage));
  restart();
  if (before !== "" && stage.dataset.today !== undefined) today = Number(stage.dataset.today);
  delete stage.dataset.today;
  const known = stage.querySelector("[data-undo] [name=claim]");
  if (known) undoable = known.value;
  else if (stage.dataset.stage === `claim-${undoable}`) undoable = ""; // undone in another window
  known?.remove(); // it was so now: the stage may come back later
  drafts.restore(stage);
  showTally();
  const samePair = before.endsWith(`-${claimOf(stage)}`);
  if (!samePair) window.scrollTo(0, 0);
  if (before !== "" && document.activeElement === document.body) {
    document.querySelector("[data-stage-title]")?.focus({ preventScroll: true });
  }
  document.dispatchEvent(new CustomEvent("tandem:shown", { detail: { stage } }));
}

function showTally() {
  const tally = current().querySelector("[data-tally]");
  const waiting = outbox.waiting().length;
  if (tally) tally.textContent = waiting > 0 ? `${today} today, ${waiting} on the way` : `${today} today`;
}

// --- what a key or a button sends ----------------------------------------------------------------------------------

function commit(form, submitter) {
  const stage = current();
  if (stage.dataset.spent !== undefined || !filledIn(form)) return;
  const field = form.elements.namedItem("seconds");
  if (field) field.value = seconds();
  const fields = [...new FormData(form, submitter)].filter(([name]) => name !== "csrfmiddlewaretoken");
  const then = form.dataset.outbox;
  if (then !== "stay") {
    stage.dataset.spent = "";
    undoable = claimOf(stage);
  }
  if (then === "commit") today += 1;
  outbox.add({ url: form.getAttribute("action"), fields, claim: claimOf(stage), then, from: place.dataset.next });
  status.textContent = form.dataset.said;
  if (then === "stay") {
    form.reset();
    form.closest("details").open = false;
  } else if (then === "commit" && stage.dataset.reveals === "yes") {
    awaitReveal(stage, submitter);
  } else {
    advance();
  }
}

// Blanks pass `required` in the browser, and the server refuses them.
function filledIn(form) {
  for (const field of form.elements) if (field.required && field.value.trim() === "") field.value = "";
  return form.reportValidity();
}

function awaitReveal(stage, submitter) {
  const waiting = stage.querySelector("template[data-committed]").content.cloneNode(true);
  waiting.querySelector("[data-own]").textContent = submitter.querySelector("span").textContent;
  stage.querySelector(".dock").replaceChildren(waiting);
  stage.classList.add("committed");
  stage.dataset.stage = `committed-${claimOf(stage)}`;
  htmx.process(stage);
  entered();
}

document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (!form.dataset?.outbox) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    commit(form, event.submitter);
  },
  true,
);

// A required field in a closed pop-up cannot say that it is missing.
document.addEventListener(
  "invalid",
  (event) => {
    const closed = event.target.closest("details:not([open])");
    if (closed) closed.open = true;
  },
  true,
);

document.addEventListener(
  "click",
  (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (target?.closest(".dock button, .dock a") && slip(event, target)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    } else if (target?.closest("[data-advance]")) {
      event.preventDefault();
      advance();
    } else if (target?.closest("[data-discard]")) {
      outbox.discard();
    }
  },
  true,
);

// The second half of a double click, or a key or click that was meant for the pair before. A key has no detail.
function slip(event, target) {
  if (event.detail === 0) return sinceShown() < KEY_GUARD_MS && target.closest("[data-verdict]") !== null;
  return event.detail > 1 || sinceShown() < GUARD_MS;
}

// What another project's page left behind is sent from here too; the pair that would come with its receipt is not ours.
const ours = (entry) => entry.from === place.dataset.next;

outbox.connect({
  more: (entry) => (ours(entry) ? [["held", held().filter((claim) => claim !== entry.claim).join(",")]] : []),
  receipt: (entry, answer) => {
    dry = false;
    if (entry.then === "commit") drafts.forget(entry.claim);
    if (answer.next) keepReady(answer.next);
    if (entry.then === "commit" && answer.notice) status.textContent = answer.notice; // another verdict stands
    const looksOn = entry.then === "commit" && current().dataset.stage === `committed-${entry.claim}`;
    if (looksOn && answer.reveal) showReveal(answer.reveal);
    else if (looksOn) advance(); // which pairs measure the judge is not known before
    goOn();
  },
  back: goOn,
  state: ({ waiting, trouble: failing, refused }) => {
    saved.textContent = waiting === 0 ? "All saved" : `${waiting} on the way`;
    showTally();
    const text = failing && waiting > 0 ? explained(failing, waiting) : "";
    if (trouble.dataset.from === "outbox" || text) {
      trouble.textContent = text;
      trouble.dataset.from = text ? "outbox" : "";
    }
    showRefused(refused);
  },
});

// The server answers again: get what could not be got.
function goOn() {
  if (loading()) fetchNext();
  else fill();
}

function explained(failing, waiting) {
  const what = failing === "network" ? "The server cannot be reached." : "The server does not take verdicts just now.";
  const [labels, themselves] = waiting === 1 ? ["1 verdict waits", "itself"] : [`${waiting} verdicts wait`, "themselves"];
  return `${what} ${labels} in this browser and will be sent by ${themselves}; you can go on.`;
}

function showRefused(refused) {
  const box = document.getElementById("refused");
  box.hidden = refused.length === 0;
  if (refused.length > 0) box.querySelector("p").textContent = `${refused.length} could not be saved: ${refused[0].refused}`;
}

// --- undo ----------------------------------------------------------------------------------------------------------

const undoes = (element) => element instanceof Element && element.matches("[data-undo]");

document.addEventListener("htmx:confirm", async (event) => {
  if (!undoes(event.detail.elt) || event.detail.triggeringEvent?.detail?.drained) return;
  event.preventDefault();
  if (undoing) return;
  undoing = true;
  htmx.trigger(document.body, "htmx:abort"); // the reveal or the pair that is on its way
  if (outbox.waiting().length > 0) status.textContent = "Undo follows as soon as the verdicts that wait are saved.";
  await outbox.drained();
  // The form of now: the one that was pressed may have gone with its stage.
  htmx.trigger(current().querySelector("[data-undo]"), "submit", { drained: true });
});

document.addEventListener("htmx:beforeSwap", (event) => {
  const { requestConfig, target, xhr } = event.detail;
  if (!undoes(requestConfig?.elt)) {
    if (undoing && ["stage", "reveal"].includes(target.id)) event.preventDefault();
    return;
  }
  const stage = current();
  const unused = stage.dataset.stage === `claim-${claimOf(stage)}` && stage.dataset.spent === undefined;
  if (unused && xhr.status === 200) reserve.unshift(stage);
});

document.addEventListener("htmx:afterRequest", (event) => {
  if (!undoing || !undoes(event.detail.requestConfig?.elt)) return;
  undoing = false;
  goOn();
});

// --- leases and the page's coming and going ------------------------------------------------------------------------

document.addEventListener("htmx:configRequest", (event) => {
  if (undoes(event.detail.elt)) event.detail.parameters.claim = undoable;
  if (event.detail.elt.id === "lease") event.detail.parameters.held = reserve.map(claimOf).join(",");
});

document.addEventListener("htmx:afterSwap", (event) => {
  // After a long sleep somebody else may have what waited here.
  const held = document.getElementById("lease")?.dataset.held?.split(",");
  if (event.detail.target.id === "lease" && held) prune((claim) => held.includes(claim));
  entered();
  dry = false;
  fill();
});

addEventListener("pagehide", () => {
  const body = new URLSearchParams({ csrfmiddlewaretoken: csrf(), held: reserve.map(claimOf).join(",") });
  if (reserve.length > 0) navigator.sendBeacon(place.dataset.release, body);
  reserve.length = 0;
});

addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

entered();
undoable = outbox.waiting().findLast((entry) => ours(entry) && entry.then !== "stay")?.claim ?? undoable;
drafts.prune();
outbox.retryRefused();
outbox.flush();
// A verdict on this very pair waits still: the page was reloaded before the server had it.
if (outbox.waiting().some((entry) => entry.claim === claimOf(current()) && entry.then !== "stay")) advance();
else fill();
