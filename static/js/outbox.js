// What was committed and is not confirmed yet. It lives in the browser's storage, one item for each, until the server's
// receipt is there: a reload, a crash, a lost network or an ended session loses nothing. Knows nothing of the screen.

import { askPassword, csrf, signedIn, whenBack } from "./session.js";

const PREFIX = `tandem-outbox-${document.getElementById("labelling").dataset.user}-`;
const TIMEOUT_MS = 20_000;
const KEEPALIVE_MOST = 60_000;
const FORM = "application/x-www-form-urlencoded;charset=UTF-8";
const PAUSES_MS = [1000, 2000, 4000, 8000, 15_000];
const memory = new Map(); // where the browser keeps nothing

let sending = false;
let failures = 0;
let trouble = ""; // "network" or "server" while sending fails
let timer = 0;
let number = 0;
let hooks = { receipt: () => {}, state: () => {}, back: () => {}, more: () => [] };

// `receipt(entry, answer)`, `state({waiting, trouble, refused})`, `back()` when network or session are there again, and
// `more(entry)`: fields added when an entry is sent.
export function connect(given) {
  hooks = { ...hooks, ...given };
}

export function entries() {
  const found = [...memory.values()];
  for (let at = 0; at < localStorage.length; at += 1) {
    const name = localStorage.key(at);
    if (!name.startsWith(PREFIX)) continue;
    try {
      found.push(JSON.parse(localStorage.getItem(name)));
    } catch {
      localStorage.removeItem(name); // not ours
    }
  }
  return found.filter((entry) => entry?.name).sort((a, b) => (a.name < b.name ? -1 : 1));
}

export function waiting() {
  return entries().filter((entry) => !entry.refused);
}

function keep(entry) {
  try {
    localStorage.setItem(entry.name, JSON.stringify(entry));
  } catch {
    memory.set(entry.name, entry);
  }
}

function drop(entry) {
  localStorage.removeItem(entry.name);
  memory.delete(entry.name);
}

// Durable before it returns; sent as soon as possible.
export function add(entry) {
  number += 1;
  const order = `${Date.now().toString(36).padStart(9, "0")}-${String(number).padStart(4, "0")}`;
  keep({ ...entry, name: `${PREFIX}${order}-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}` });
  tell();
  flush();
}

// At a new load what was refused gets another chance: it may have been another user's session that was asked.
export function retryRefused() {
  for (const { refused, ...entry } of entries()) if (refused) keep(entry);
}

export function discard() {
  for (const entry of entries()) if (entry.refused) drop(entry);
  tell();
}

export async function flush() {
  if (sending) return;
  sending = true;
  clearTimeout(timer);
  let next = waiting()[0];
  while (next && (await send(next))) [next] = waiting();
  sending = false;
  if (next) timer = setTimeout(flush, PAUSES_MS[Math.min(failures, PAUSES_MS.length) - 1] ?? PAUSES_MS[0]);
  tell();
}

export async function drained() {
  while (waiting().length > 0) {
    await flush();
    if (waiting().length > 0) await new Promise((go) => setTimeout(go, 200));
  }
}

// True when the entry is done with: confirmed, or refused for good (and then kept and shown).
async function send(entry) {
  let answer;
  const body = new URLSearchParams([...entry.fields, ...hooks.more(entry)]).toString();
  try {
    answer = await fetch(entry.url, {
      method: "POST",
      body,
      keepalive: body.length < KEEPALIVE_MOST, // goes on when the page is left
      headers: { Accept: "application/json", "Content-Type": FORM, "X-CSRFToken": csrf() },
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (answer.ok) {
      const receipt = await answer.json();
      failures = 0;
      trouble = "";
      drop(entry);
      signedIn();
      hooks.receipt(entry, receipt);
      return true;
    }
    if ([404, 409, 422].includes(answer.status)) {
      keep({ ...entry, refused: await reason(answer) });
      return true;
    }
  } catch {
    answer = null;
  }
  failures += 1;
  trouble = answer ? "server" : "network";
  if (answer?.status === 401) askPassword();
  tell();
  return false;
}

async function reason(answer) {
  try {
    return (await answer.json()).notice;
  } catch {
    return "The server knows no such pair for you.";
  }
}

function tell() {
  const all = entries();
  const refused = all.filter((entry) => entry.refused);
  hooks.state({ waiting: all.length - refused.length, trouble, refused });
}

function back() {
  flush();
  hooks.back();
}

whenBack(back);
addEventListener("online", back);
addEventListener("storage", (event) => {
  if (event.key?.startsWith(PREFIX)) tell();
});
