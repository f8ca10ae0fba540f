// Charts: plotly.min.js is loaded when the first chart comes near the screen, and each chart is drawn when it does.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const charts = (() => {
  const own = document.currentScript;
  const PATTERNS = ["", "/", "\\", "x", ".", "-", "|", "+"];
  // Seconds from the run's begin to its end, the same on all axes of time.
  const end = (data.timeline?.attempts ?? []).reduce((last, attempt) => attempt.spans.reduce((most, span) => Math.max(most, span[3]), last), 0);
  const specs = new Map(); // figure -> what makes its traces, its layout and its table
  const drawn = new Set();
  let plotly = null;

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }
  function load() {
    plotly ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.nonce = own.nonce;
      script.src = own.dataset.plotly;
      script.addEventListener("load", () => resolve(window.Plotly));
      script.addEventListener("error", reject);
      document.head.append(script);
    });
    return plotly;
  }

  // Round steps of time, at most `most` of them.
  function ticks(until, most) {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
    let step = steps.find((each) => until / each <= most) ?? 86400;
    while (until / step > most) step *= 2;
    const values = Array.from({ length: Math.floor(until / step) + 1 }, (_, place) => Math.round(place * step * 10) / 10);
    return { tickvals: values, ticktext: values.map((value) => (value ? tables.duration(value) : "0")) };
  }
  function timeAxis(until, width) {
    return { ...axis(), ...ticks(until, Math.max(2, Math.floor(width / 110))), range: [0, until], title: { text: "since the run began", standoff: 8 } };
  }
  function axis(title) {
    return {
      fixedrange: true, gridcolor: color("line"), linecolor: color("line"), zerolinecolor: color("line"),
      automargin: true, title: { text: title ?? "", standoff: 8 },
    };
  }
  // Whole numbers have no ticks between them.
  function counted(largest) {
    return largest < 8 ? { dtick: 1, tickformat: ",d" } : { tickformat: ",d" };
  }
  function layout(more) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, hovermode: "x unified",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: color("ink-soft") },
      hoverlabel: { bgcolor: color("raised"), bordercolor: color("line"), font: { color: color("ink") } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: color("ink") } },
      margin: { l: 48, r: 8, t: 8, b: 44 }, height: 300, ...more,
    };
  }

  async function draw(figure) {
    const { traces, shape } = specs.get(figure);
    const plot = figure.querySelector(".plot");
    let Plotly;
    try {
      Plotly = await load();
    } catch {
      turnOff(figure, `No chart: ${own.dataset.plotly} is not where this page looks for it; vllm-launch report puts it there. The table has the same.`);
      return;
    }
    drawn.add(figure);
    const width = plot.clientWidth;
    await Plotly.react(plot, traces(width), layout(shape(width)), { displayModeBar: false, responsive: true });
    plot.dataset.drawn = "yes";
  }
  function turnOff(figure, why) {
    figure.classList.add("is-off");
    const note = figure.querySelector(".why");
    note.textContent = why;
    note.hidden = false;
  }
  function fillTable(figure) {
    const details = figure.querySelector("details");
    const room = details.querySelector(".scroll");
    if (details.open) room.replaceChildren(specs.get(figure).table());
  }

  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { near.unobserve(target); draw(target); }
    }
  }, { rootMargin: "300px" });

  // Gives a chart its data; without any, its one line why. A chart that is on the screen is drawn anew.
  function set(name, spec, why) {
    const figure = document.querySelector(`[data-chart="${name}"]`);
    if (!figure) return;
    if (!spec) { turnOff(figure, why); figure.querySelector("details").remove(); return; }
    const isNew = !specs.has(figure);
    specs.set(figure, spec);
    if (isNew) {
      near.observe(figure);
      figure.querySelector("details").addEventListener("toggle", () => fillTable(figure));
    } else {
      if (drawn.has(figure)) draw(figure);
      fillTable(figure);
    }
  }
  document.addEventListener("themechange", () => { for (const figure of drawn) draw(figure); });
  addEventListener("beforeprint", () => { for (const figure of specs.keys()) if (!drawn.has(figure)) draw(figure); });
  return { PATTERNS, color, axis, timeAxis, counted, end, set };
})();
