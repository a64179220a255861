"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figure-data");
  const trials = read("trial-data");
  const byName = new Map(trials.map((trial) => [trial.trial, trial]));
  const dash = "\u2013";
  const percent = (share) => (share === null ? dash : (100 * share).toFixed(1) + " %");
  const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const shown = (value) =>
    value === null ? "none" : value === true ? "yes" : value === false ? "no"
      : typeof value === "number" ? String(Number(value.toPrecision(4))) : typeof value === "object" ? JSON.stringify(value) : String(value);
  const settings = (config) => Object.entries(config).map(([key, value]) => [key.replaceAll("_", " "), shown(value)]);

  const hovers = new Map();
  const hover = (name) => {
    if (!hovers.has(name)) {
      const trial = byName.get(name);
      const lines = trial === undefined ? [] : settings(trial.config).map(([key, value]) => `${escaped(key)} ${escaped(value)}`);
      const state = trial === undefined ? "" : ` (${trial.status})`;
      hovers.set(name, `<b>${escaped(name)}</b>${state}<br>` + lines.join("<br>"));
    }
    return hovers.get(name);
  };
  const touch = matchMedia("(pointer: coarse)").matches;
  const options = { displayModeBar: false, responsive: true, doubleClick: "reset" };

  const draw = async (place, figure) => {
    for (const trace of figure.data) {
      if (trace.customdata) {
        trace.text = trace.customdata.map(hover);
        trace.hovertemplate = trace.type === "bar" ? "%{text}<extra></extra>" : "%{y}<br>%{text}<extra></extra>";
        if (trace.type === "bar") trace.textposition = "none";
      }
    }
    // A finger that scrolls the page must not zoom a figure.
    if (touch) figure.layout.dragmode = false;
    await Plotly.newPlot(place, figure.data, figure.layout, options);
    place.on("plotly_click", (event) => {
      const name = event.points[0].customdata;
      if (byName.has(name)) open(name);
    });
  };

  const dialog = document.getElementById("trial");
  const element = (tag, text, kind) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const open = (name) => {
    const trial = byName.get(name);
    const body = dialog.querySelector("div");
    body.replaceChildren();
    const list = element("dl");
    const facts = [
      ["family", trial.title], ["status", trial.status + (trial.reason ? ": " + trial.reason : "")],
      ...(trial.judged ? [trial.judged] : []),
      ["best validation accuracy", percent(trial.validation_accuracy) + (trial.epoch === null ? "" : ` at epoch ${trial.epoch}`)],
      ["training minus validation", percent(trial.gap)], ["seconds", shown(trial.seconds)], ...trial.cost, ...settings(trial.config),
    ];
    for (const [key, value] of facts) list.append(element("dt", key), element("dd", value));
    const place = element("div", undefined, "plot");
    dialog.querySelector("h3").textContent = name;
    body.append(list, place);
    dialog.showModal();
    if (trial.epochs.length) {
      const line = (values, title, dashed, axis) => ({
        x: trial.epochs, y: values, name: title, mode: "lines+markers", yaxis: axis, xaxis: axis === "y2" ? "x2" : "x",
        line: { color: dashed ? "#8a8f98" : trial.colour, width: 2, dash: dashed ? "dot" : "solid" }, showlegend: axis !== "y2",
      });
      const common = figures.blank.layout;
      Plotly.newPlot(place, [
        line(trial.train_accuracy, "training", true), line(trial.validation_accuracy_by_epoch, "validation", false),
        line(trial.train_loss, "training", true, "y2"), line(trial.validation_loss, "validation", false, "y2"),
      ], {
        ...common, xaxis: { ...common.xaxis, domain: [0, 0.44], title: { text: "epoch" } }, yaxis: { ...common.yaxis, tickformat: ".0%", title: { text: "accuracy" } },
        xaxis2: { ...common.xaxis, domain: [0.57, 1], anchor: "y2", title: { text: "epoch" } }, yaxis2: { ...common.yaxis, anchor: "x2", title: { text: "loss" } },
      }, options);
    }
  };

  const table = document.getElementById("table");
  const state = { key: trials.some((trial) => "score" in trial) ? "score" : "validation_accuracy", down: true, most: 50 };
  const columns = ["trial", "title", "status", "epochs", "validation_accuracy", "epoch", "gap", "seconds", "reason"];
  const worth = (trial, key) => (key === "epochs" ? trial.epochs.length : trial[key]);
  const fill = () => {
    const words = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const family = document.getElementById("by-family").value;
    const status = document.getElementById("by-status").value;
    const found = trials.filter((trial) => {
      if ((family && trial.family !== family) || (status && trial.status !== status)) return false;
      trial.haystack ??= [trial.trial, trial.title, trial.reason, ...settings(trial.config).flat()].join(" ").toLowerCase();
      return words.every((word) => trial.haystack.includes(word));
    });
    found.sort((one, other) => {
      const [a, b] = [worth(one, state.key), worth(other, state.key)];
      // What is not known comes last, whichever way the column is sorted.
      if (a === null || b === null) return (a === null) - (b === null);
      return (a < b ? -1 : a > b ? 1 : 0) * (state.down ? -1 : 1);
    });
    const rows = found.slice(0, state.most).map((trial) => {
      const row = element("tr");
      const head = element("td");
      const button = element("button", trial.trial);
      button.addEventListener("click", () => open(trial.trial));
      head.append(button);
      const named = element("td");
      const dot = element("span", undefined, "dot");
      dot.style.setProperty("--accent", trial.colour);
      named.append(dot, trial.title);
      row.append(head, named, element("td", trial.status), element("td", trial.epochs.length, "n"),
        element("td", percent(trial.validation_accuracy), "n"), element("td", trial.epoch ?? dash, "n"),
        element("td", percent(trial.gap), "n"), element("td", trial.seconds.toFixed(1), "n"), element("td", trial.reason));
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    document.getElementById("found").textContent = `${found.length} of ${trials.length} trials match, ${rows.length} shown.`;
    document.getElementById("more").hidden = rows.length === found.length;
    [...table.tHead.rows[0].cells].forEach((cell, place) => {
      if (columns[place] === state.key) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  };
  [...table.tHead.rows[0].cells].forEach((cell, place) => {
    cell.querySelector("button").addEventListener("click", () => {
      const key = columns[place];
      state.down = state.key === key ? !state.down : typeof worth(trials[0] ?? {}, key) === "number";
      state.key = key;
      fill();
    });
  });
  for (const id of ["words", "by-family", "by-status"]) document.getElementById(id).addEventListener("input", fill);
  document.getElementById("more").addEventListener("click", () => { state.most = Infinity; fill(); });
  fill();

  const resize = () => document.querySelectorAll("figure .plot").forEach((place) => Plotly.Plots.resize(place));
  addEventListener("beforeprint", () => { document.querySelectorAll("details").forEach((part) => { part.open = true; }); resize(); });
  addEventListener("afterprint", resize);
  (async () => {
    for (const place of document.querySelectorAll("figure .plot")) {
      await draw(place, figures[place.dataset.figure]);
      // Between figures the page answers its reader.
      await new Promise((ready) => setTimeout(ready));
    }
    document.documentElement.dataset.drawn = "yes";
  })();
})();
