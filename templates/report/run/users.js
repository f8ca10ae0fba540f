// Scores of users: how they are spread, and a table that sorts by any score.
"use strict";
(() => {
  const found = data.users;
  const section = document.getElementById("users");
  if (!section) return;
  if (!found) { section.remove(); return; }
  const { number, element, pager } = tables;
  const { color, axis, counted } = charts;
  const SIZE = 20, MAX_BINS = 24;
  const [select, search, count, room] = ["user-score", "user-search", "user-count", "user-table"].map((id) => document.getElementById(id));
  const shownNames = found.scores;
  const folded = found.users.map(texts.fold);
  for (const [place, score] of shownNames.entries()) {
    const option = element("option", score.label);
    option.value = place;
    select.append(option);
  }
  const preferred = shownNames.findIndex((score) => /^(chrf|accuracy)_mean$/.test(score.name));
  select.value = Math.max(0, preferred);
  let sortBy = Number(select.value), rising = true, order = [];

  function histogram() {
    const score = shownNames[Number(select.value)];
    const values = score.values.filter((value) => value !== null);
    if (!values.length) return null;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const width = high > low ? (high - low) / Math.min(MAX_BINS, Math.max(4, Math.ceil(Math.sqrt(values.length)))) : 1;
    const bins = new Array(high > low ? Math.round((high - low) / width) : 1).fill(0);
    for (const value of values) bins[Math.min(bins.length - 1, Math.floor((value - low) / width))] += 1;
    const ranges = bins.map((_, place) => `${number(low + place * width, score.decimals)} to ${number(low + (place + 1) * width, score.decimals)}`);
    return {
      traces: () => [{
        type: "bar", x: bins.map((_, place) => low + (place + 0.5) * width), y: bins, width: width * 0.94, customdata: ranges, showlegend: false,
        hovertemplate: "%{customdata}: %{y:,} users<extra></extra>", marker: { color: color("series-1") },
      }],
      shape: () => ({ hovermode: "closest", height: 260, xaxis: axis(score.label), yaxis: { ...axis("users"), ...counted(Math.max(...bins)) } }),
      table: () => tables.make([score.label, "Users"], ranges.map((range, place) => [range, number(bins[place])])),
    };
  }

  function sort() {
    const query = texts.termsOf(search.value);
    const values = sortBy < 0 ? found.items : shownNames[sortBy].values;
    order = found.users.map((_, place) => place).filter((place) => query.every((term) => folded[place].includes(term)));
    order.sort((a, b) => {
      if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null) || a - b;
      return (rising ? 1 : -1) * (values[a] - values[b]) || a - b;
    });
    const drawn = found.users.length < found.num_users ? ` (a fair draw of ${number(found.num_users)})` : "";
    count.textContent = `${number(order.length)} of ${number(found.users.length)} users${drawn}`;
    show();
  }
  function headers() {
    const cells = [["User", null], ["Items", -1], ...shownNames.map((score, place) => [score.label, place])];
    return cells.map(([label, place]) => {
      const cell = element("th", null, place === null ? "" : "number");
      cell.scope = "col";
      if (place === null) { cell.textContent = label; return cell; }
      const button = element("button", label);
      const is = place === sortBy;
      if (is) { cell.ariaSort = rising ? "ascending" : "descending"; button.append(rising ? " ▲" : " ▼"); }
      button.addEventListener("click", () => {
        rising = is ? !rising : true;
        sortBy = place;
        sort();
        room.querySelectorAll("th button")[place + 1].focus();
      });
      cell.append(button);
      return cell;
    });
  }
  const show = pager("user", SIZE, () => order.length, (from, to) => {
    const rows = order.slice(from, to).map((place) => [
      texts.show(element("bdi", null, "mono"), found.users[place], texts.termsOf(search.value), "en"), number(found.items[place]),
      ...shownNames.map((score) => number(score.values[place], score.decimals)),
    ]);
    const table = tables.make(["User", "Items", ...shownNames.map((score) => score.label)], rows);
    table.tHead.rows[0].replaceChildren(...headers());
    room.replaceChildren(table);
  });

  select.addEventListener("change", () => {
    sortBy = Number(select.value);
    rising = true;
    charts.set("users", histogram(), "No user has this score.");
    sort();
  });
  search.addEventListener("input", sort);
  charts.set("users", histogram(), "No user has this score.");
  sort();
})();
