// The adjudicators' queue: tick all rows at once, and say how many are ticked. Decides nothing: the form does.

const all = document.querySelector("[data-tick-all]");
const boxes = () => [...document.querySelectorAll("input[name=pair]")];

function show() {
  const ticked = boxes().filter((box) => box.checked).length;
  all.querySelector("[data-ticked]").textContent = ticked > 0 ? `(${ticked})` : "";
  all.setAttribute("aria-pressed", String(ticked > 0 && ticked === boxes().length));
}

if (all) {
  all.addEventListener("click", () => {
    const tick = boxes().some((box) => !box.checked);
    for (const box of boxes()) box.checked = tick;
    show();
  });
  document.addEventListener("change", show);
  addEventListener("pageshow", show);
  show();
}
