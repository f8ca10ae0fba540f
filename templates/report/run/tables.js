// Tables by script: the alternative of each chart, and rows shown a part at a time.
"use strict";
const tables = (() => {
  const whole = new Intl.NumberFormat("en");
  function number(value, decimals = 0) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    return decimals ? value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }) : whole.format(value);
  }
  // Seconds as people say them.
  function duration(seconds) {
    const rounded = Math.round(seconds);
    if (seconds < 120 && seconds !== 60) return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(1)} s`;
    const minutes = Math.floor(rounded / 60);
    if (minutes < 120) return rounded % 60 ? `${minutes} min ${rounded % 60} s` : `${minutes} min`;
    return minutes % 60 ? `${whole.format(Math.floor(minutes / 60))} h ${minutes % 60} min` : `${whole.format(minutes / 60)} h`;
  }
  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text;
    if (className) made.className = className;
    return made;
  }
  // Columns are texts; cells are texts or elements; all but the first `numText` columns are numbers.
  function make(columns, rows, numText = 1) {
    const table = element("table");
    const head = table.createTHead().insertRow();
    columns.forEach((column, place) => {
      const cell = element("th", column, place < numText ? "" : "number");
      cell.scope = "col";
      head.append(cell);
    });
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      row.forEach((value, place) => {
        const cell = line.insertCell();
        if (place >= numText) cell.className = "number";
        cell.append(value instanceof Node ? value : String(value));
      });
    }
    return table;
  }
  // Buttons that go back and on through `count()` rows of `size`, and call `draw(from, to)`.
  function pager(prefix, size, count, draw) {
    const [back, next, range] = ["back", "next", "range"].map((name) => document.getElementById(`${prefix}-${name}`));
    let from = 0;
    function show(at = 0) {
      const all = count();
      from = Math.max(0, Math.min(at, Math.floor(Math.max(0, all - 1) / size) * size));
      const to = Math.min(all, from + size);
      back.disabled = from === 0;
      next.disabled = to >= all;
      back.parentElement.hidden = all <= size;
      range.textContent = all ? `${number(from + 1)} to ${number(to)} of ${number(all)}` : "none";
      draw(from, to);
    }
    back.addEventListener("click", () => show(from - size));
    next.addEventListener("click", () => show(from + size));
    return show;
  }
  return { number, duration, element, make, pager };
})();
