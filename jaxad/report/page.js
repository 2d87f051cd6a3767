"use strict";
// Tables sort by their headers and figures enlarge; without this the page reads the same.

const NUMBER = /^[~<>≤≥]?\s*([-+−]?(?:\d[\d,]*)?\.?\d+(?:e[-+]?\d+)?)/i;

// [rank, value]: numbers first, by the first one of a cell, then words, then what is missing.
function key(text) {
  if (text === "" || text === "-") return [2, 0];
  const found = NUMBER.exec(text);
  if (!found) return [1, text];
  return [0, Number(found[1].replaceAll(",", "").replace("−", "-"))];
}

function order(a, b, sign) {
  if (a[0] !== b[0]) return a[0] === 2 || b[0] === 2 ? a[0] - b[0] : sign * (a[0] - b[0]);
  if (a[0] === 1) return sign * a[1].localeCompare(b[1], "en", { numeric: true });
  return sign * (a[1] - b[1]);
}

// A header sorts first the way that one looks for: largest numbers, or words from A; then the
// other way; then as the page had it.
function sortable(table) {
  const body = table.tBodies[0], given = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const keys = new Map(given.map(row => [row, key(row.cells[column]?.textContent.trim() ?? "")]));
    const first = given.some(row => keys.get(row)[0] === 0) ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const now = header.getAttribute("aria-sort");
      const next = now === first ? second : now === second ? null : first;
      headers.forEach(other => other.removeAttribute("aria-sort"));
      if (next) header.setAttribute("aria-sort", next);
      table.classList.toggle("sorted", next !== null);
      const sign = next === "ascending" ? 1 : -1;
      const compare = (a, b) => order(keys.get(a), keys.get(b), sign);
      body.append(...(next ? [...given].sort(compare) : given));
    });
  });
}

function enlarging(figures) {
  const dialog = document.createElement("dialog");
  const close = document.createElement("button");
  const large = document.createElement("img");
  const caption = document.createElement("p");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  dialog.append(close, large, caption);
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  for (const figure of figures) {
    const image = figure.querySelector("img"), button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.setAttribute("aria-label", `Enlarge ${image.alt}`);
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      large.src = image.src;
      large.alt = image.alt;
      caption.textContent = figure.querySelector("figcaption").textContent;
      dialog.showModal();
    });
  }
}

document.querySelectorAll("table.sortable").forEach(sortable);
enlarging(document.querySelectorAll(".figures figure"));
