"use strict";
(() => {
  const view = document.querySelector(".tokenview");
  if (!view) return;
  const form = view.querySelector(".filters");
  const drops = view.querySelector(".drops");
  const cards = [...view.querySelectorAll(".card")];
  const tip = document.getElementById("tip");
  const MOST_DROPS = 100;

  function applyFilters() {
    const chosen = new FormData(form);
    const label = chosen.get("label");
    const arm = chosen.get("arm") || "";
    view.dataset.shade = chosen.get("shade");
    let shown = 0;
    for (const card of cards) {
      const fits = (label === "all" || card.dataset.label === label) && (!arm || card.dataset.arm === arm);
      card.hidden = !fits;
      shown += fits;
    }
    form.querySelector(".shown").textContent = `${shown} of ${cards.length} completions`;
    view.querySelector(".nothing").hidden = shown > 0;
    hideTip();
    findDrops();
  }

  // What a token tells: the tip shows it, a screen reader says it.

  function nameOf(token) {
    const text = token.cloneNode(true);
    text.querySelectorAll("i").forEach((mark) => mark.remove());
    return text.textContent.replace(/\n/g, "\\n").replace(/^ +| +$/g, (gap) => "\u2423".repeat(gap.length));
  }

  function numbersOf(token) {
    const { weight, weights, value, td, credit, loss } = token.dataset;
    const perHead = (name, numbers) => {
      const each = numbers.split(" ");
      return each.map((number, head) => [each.length > 1 ? `${name}, head ${head}` : name, number]);
    };
    return [
      ["value", value],
      ["TD error", td],
      ["credit", credit],
      ...(weights ? perHead("weight", weights) : [["weight", weight]]),
      ...(loss ? perHead("loss", loss) : []),
    ].filter(([, number]) => number !== undefined);
  }

  function describe(token) {
    const numbers = numbersOf(token).map((pair) => pair.join(" "));
    if (token.classList.contains("x")) numbers.push("truly wrong");
    return `${nameOf(token)}: ${numbers.join(", ")}`;
  }

  function line(name, value) {
    const row = document.createElement("div");
    const label = document.createElement("span");
    const number = document.createElement("b");
    label.textContent = name;
    number.textContent = value;
    row.append(label, number);
    return row;
  }

  let told = null; // the token that the tip tells of

  function showTip(token) {
    told = token;
    const name = document.createElement("code");
    name.textContent = nameOf(token);
    tip.replaceChildren(name, ...numbersOf(token).map(([of, number]) => line(of, number)));
    if (token.classList.contains("x")) {
      const wrong = document.createElement("em");
      wrong.textContent = "truly wrong token";
      tip.append(wrong);
    }
    tip.hidden = false;
    placeTip();
  }

  function placeTip() {
    if (!told) return;
    const box = told.getClientRects()[0] || told.getBoundingClientRect();
    const above = box.top - tip.offsetHeight - 8;
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    tip.style.top = `${above < 4 ? box.bottom + 8 : above}px`;
    tip.style.left = `${Math.max(6, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 6))}px`;
  }

  function hideTip() {
    told = null;
    tip.hidden = true;
  }

  // When the mouse leaves a token, the tip goes back to the one in focus, unless Escape has closed it.
  function backToFocus() {
    if (!told) return;
    const focused = document.activeElement.closest(".card .t");
    if (focused) showTip(focused);
    else hideTip();
  }

  // One tab stop per completion; arrow keys walk through its tokens.

  function makeWalkable(tokens, number) {
    tokens.setAttribute("role", "listbox");
    tokens.setAttribute("aria-orientation", "horizontal");
    tokens.setAttribute("aria-label", `Tokens of completion ${number}; arrow keys move between them`);
    [...tokens.children].forEach((token, index) => {
      token.setAttribute("role", "option");
      token.setAttribute("aria-selected", "false");
      token.setAttribute("aria-label", describe(token));
      token.tabIndex = index ? -1 : 0;
    });
  }

  function move(event) {
    if (event.key === "Escape") hideTip();
    const plain = !(event.ctrlKey || event.metaKey || event.altKey) && event.target.localName !== "select";
    if (plain && (event.key === "n" || event.key === "p")) jump(event.key === "n" ? 1 : -1);
    const token = event.target.closest(".card .t");
    if (!token) return;
    const tokens = [...token.parentElement.children];
    const here = tokens.indexOf(token);
    const there = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (there === undefined) return;
    event.preventDefault();
    if (tokens[there]) tokens[there].focus();
  }

  // The largest drops of the completions shown. Credit has the critic's own unit, so it ranks only where every
  // completion has it. The TD error of a last token is the outcome minus the value: no drop of the value.

  let found = []; // tokens, largest drop first
  let place = -1;

  const numberIn = (token, by) => Number(token.dataset[by].replace("\u2212", "-"));

  function findDrops() {
    if (!drops) return;
    const shown = cards.filter((card) => !card.hidden).map((card) => [...card.querySelectorAll(".t")]);
    const judged = shown.filter(([first]) => first && (first.dataset.td || first.dataset.credit));
    const by = judged.length && judged.every(([first]) => first.dataset.credit) ? "credit" : "td";
    const tokens = judged.flatMap((all) => (by === "td" ? all.slice(0, -1) : all));
    found = tokens
      .filter((token) => token.dataset[by] && numberIn(token, by) < 0)
      .sort((one, other) => numberIn(one, by) - numberIn(other, by))
      .slice(0, MOST_DROPS);
    place = -1;
    drops.dataset.by = by;
    const measure = by === "td" ? "by TD error, last tokens left out" : "by credit";
    drops.querySelector(".where").textContent = judged.length ? measure : "the completions shown have no values";
    for (const button of drops.querySelectorAll("button")) button.disabled = !found.length;
  }

  function jump(step) {
    if (!drops || !found.length) return;
    place = place < 0 && step < 0 ? found.length - 1 : (place + step + found.length) % found.length;
    const token = found[place];
    const card = token.closest(".card");
    token.scrollIntoView({ block: "center" });
    token.focus({ preventScroll: true });
    const { by } = drops.dataset;
    const { label, arm, row } = card.dataset;
    const completion = row === undefined ? `completion ${cards.indexOf(card) + 1}` : `row ${row}`;
    drops.querySelector(".where").textContent =
      `${place + 1} of ${found.length}: ${by === "td" ? "TD error" : "credit"} ${token.dataset[by]} ` +
      `at \u201c${nameOf(token)}\u201d, ${label} ${completion}, ${arm}`;
  }

  if (drops) {
    drops.querySelector(".next").addEventListener("click", () => jump(1));
    drops.querySelector(".previous").addEventListener("click", () => jump(-1));
  }
  view.addEventListener("focusin", (event) => {
    const token = event.target.closest(".card .t");
    if (!token) return;
    for (const other of token.parentElement.children) other.tabIndex = other === token ? 0 : -1;
    token.setAttribute("aria-selected", "true");
    showTip(token);
  });
  view.addEventListener("focusout", (event) => {
    const token = event.target.closest(".card .t");
    if (token) token.setAttribute("aria-selected", "false");
    hideTip();
  });
  view.addEventListener("mouseover", (event) => {
    const token = event.target.closest(".card .t");
    if (token) showTip(token);
    else backToFocus();
  });
  view.addEventListener("mouseleave", backToFocus);
  view.addEventListener("keydown", move);
  window.addEventListener("scroll", placeTip, { passive: true });
  form.addEventListener("change", applyFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  view.querySelectorAll(".tokens").forEach((tokens, index) => makeWalkable(tokens, index + 1));
  form.hidden = false;
  if (drops) drops.hidden = false;
  applyFilters();
})();
