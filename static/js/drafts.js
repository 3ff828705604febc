// What is typed, rated and marked on a pair before the verdict, kept in the browser until the server has it.

const PREFIX = `tandem-draft-${document.getElementById("labelling").dataset.user}-`;
const DAYS_MS = 7 * 24 * 3600 * 1000;

function fields(form) {
  return [...form.elements].filter((field) => field.hasAttribute("data-draft"));
}

function mark(form) {
  for (const field of fields(form)) {
    const box = field.closest("details.pop");
    if (box) box.classList.toggle("filled", field.value !== "");
  }
}

function save(form) {
  const stage = document.getElementById("stage");
  const values = {};
  for (const field of fields(form)) if (field.type !== "radio" || field.checked) values[field.name] = field.value;
  try {
    localStorage.setItem(PREFIX + stage.dataset.claim, JSON.stringify({ at: Date.now(), values }));
  } catch {
    // a full storage keeps no drafts; the verdict itself is not affected
  }
  mark(form);
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? {};
  } catch {
    return {};
  }
}

export const drafts = {
  restore(stage) {
    const form = stage.querySelector("#commit");
    if (!form) return;
    const values = read(PREFIX + stage.dataset.claim).values ?? {};
    for (const field of fields(form)) {
      if (!(field.name in values)) continue;
      if (field.type === "radio") field.checked = field.value === values[field.name];
      else field.value = values[field.name];
    }
    mark(form);
  },
  forget(claim) {
    localStorage.removeItem(PREFIX + claim);
  },
  prune() {
    for (const name of Object.keys(localStorage)) {
      if (name.startsWith(PREFIX) && !(read(name).at > Date.now() - DAYS_MS)) localStorage.removeItem(name);
    }
  },
};

for (const kind of ["input", "change"]) {
  document.addEventListener(kind, (event) => {
    if (event.target.hasAttribute?.("data-draft") && event.target.form) save(event.target.form);
  });
}
