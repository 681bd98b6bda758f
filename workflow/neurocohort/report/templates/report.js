// Sorting and filtering of tables, from the keyboard as from the mouse. The page is whole without it.
(() => {
  "use strict";
  const announce = document.getElementById("announcement");

  // Copying works from a file on disk too, where the clipboard's newer interface may be refused.
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy).content.textContent;
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        const area = document.createElement("textarea");
        area.value = text;
        area.className = "unseen";
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
        button.focus();
      }
      announce.textContent = "Copied.";
    });
  }

  // "4.08 [1.99, 6.62]" sorts by its number, "–" as missing; hashes and versions stay text.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    if (value !== undefined) return value;
    const text = cell.textContent.trim();
    if (text === "–") return "";
    const number = text.replace(/^−/, "-").match(/^-?\d[\d,]*(\.\d+)?(?=$|[\s%†‡])/);
    return number ? number[0].replaceAll(",", "") : text;
  };

  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };

  const sort = (table, header) => {
    const column = header.cellIndex;
    const descending = header.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => {
      const x = valueOf(a, column), y = valueOf(b, column);
      if (x === "" || y === "") return (x === "") - (y === ""); // what is missing stands last, either way
      return descending ? compare(y, x) : compare(x, y);
    });
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    body.append(...rows);
    announce.textContent = `Sorted by ${header.textContent.trim()}, ${descending ? "descending" : "ascending"}.`;
  };

  // Every table of several rows sorts: a header cell without a button gets one.
  for (const table of document.querySelectorAll("table:not([data-sortable])")) {
    const plain = table.tHead?.rows.length === 1 && table.tBodies.length === 1 && table.tBodies[0].rows.length > 1;
    if (!plain || table.querySelector("[colspan], [rowspan]")) continue;
    table.dataset.sortable = "";
    for (const header of table.tHead.rows[0].cells) {
      if (!header.textContent.trim()) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
    }
  }

  for (const button of document.querySelectorAll("table[data-sortable] th button")) {
    button.disabled = false;
    button.addEventListener("click", () => sort(button.closest("table"), button.closest("th")));
  }

  for (const filter of document.querySelectorAll("[data-filter]")) {
    filter.hidden = false;
    const table = document.getElementById(filter.dataset.filter);
    filter.addEventListener("change", (event) => {
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        row.hidden = event.target.value !== "all" && !row.dataset.marks.split(" ").includes(event.target.value);
        shown += !row.hidden;
      }
      announce.textContent = `${shown} scans shown.`;
    });
  }

  // A link to a scan that the filter hides shows all scans again.
  window.addEventListener("hashchange", () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!row || !row.hidden) return;
    const filter = document.querySelector(`[data-filter="${row.closest("table").id}"]`);
    filter.querySelector('input[value="all"]').checked = true;
    filter.dispatchEvent(new Event("change"));
    for (const other of row.closest("tbody").rows) other.hidden = false;
    row.scrollIntoView();
  });
})();
