"use strict";
// The controls of <section id="explore">: every change ranks anew, redraws the charts, the table and the sentence, and
// writes what differs from the report's own settings into the address, so that a link shows the same.
(function (sizewell) {
  /** Rows of the table before "show all". */
  const MOST = 25;
  const LIMITS = [
    ["ttft", "TTFT"],
    ["tpot", "TPOT"],
    ["e2e", "E2E"],
  ];
  const CHOICES = ["provider", "region", "gpu", "only"];
  /** A volume to begin with where none was given. */
  const FIRST_RPS = 10;
  /** The choice of those that the report was asked for. */
  const SEVERAL = "*";

  const { model, element } = sizewell;
  const section = document.getElementById("explore");
  if (!model || !section) return;
  /** The report's own settings, with levels and markets in the order of the controls. */
  const initial = {
    ...model.settings,
    quants: model.quants.filter((quant) => model.settings.quants.includes(quant)),
    markets: model.markets.filter((market) => model.settings.markets.includes(market)),
  };

  const distinct = (names) => [...new Set(names)].sort(sizewell.compare);
  /** What can be chosen; a card is one that times were projected to. */
  const known = {
    provider: distinct(model.offers.map((offer) => model.shapes[offer.shape].provider)),
    region: distinct(model.regions.filter((name) => name !== "any")),
    gpu: distinct(model.hardware.filter(({ tier }) => tier).map(({ name }) => name)),
    only: ["measured", "projected", "imported"].filter((basis) => model.hardware.some((h) => h.basis === basis)),
  };

  // Settings in the address: only those that differ from the initial ones.

  /** How the load is given: a share of the paid time, a constant volume, or what only the command line can say. */
  function loadOf(settings) {
    if (settings.users !== null) return "given";
    if (settings.rates === null) return "share";
    return settings.rates.every((rate) => rate === settings.rates[0]) ? "volume" : "given";
  }

  /** Milliseconds of a limit without the noise of the last digits. */
  const ms = (seconds) => Number((seconds * 1e3).toPrecision(12));
  const percent = (part) => Number((part * 100).toPrecision(12));
  /** As the command line reads `500ms`. */
  const fromMs = (value) => value * 1e-3;
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  function encode(settings) {
    const out = new URLSearchParams();
    const list = (key, now, before) => same(now, before) || out.set(key, now.join(",") || "none");
    list("quant", settings.quants, initial.quants);
    for (const [key] of LIMITS) {
      if (settings[key] !== initial[key]) out.set(key, settings[key] === null ? "none" : ms(settings[key]));
    }
    list("market", settings.markets, initial.markets);
    for (const key of CHOICES) {
      if (settings[key] !== initial[key]) out.set(key, settings[key] === null ? "any" : settings[key]);
    }
    const [load, before] = [loadOf(settings), loadOf(initial)];
    if (load === "share" && (before !== "share" || settings.share !== initial.share)) {
      out.set("utilisation", settings.share);
    }
    if (load === "volume" && !same(settings.rates, initial.rates)) out.set("rps", settings.rates[0]);
    for (const key of ["headroom", "spare"]) {
      if (settings[key] !== initial[key]) out.set(key, settings[key]);
    }
    return out.toString();
  }

  /** A number of the address within a range; undefined where it is none. */
  function numberIn(text, least, most, whole = false) {
    const value = text === null || text.trim() === "" ? NaN : Number(text);
    const good = value >= least && value <= most && (!whole || Number.isInteger(value));
    return good ? value : undefined;
  }

  const isLimit = (text) => numberIn(text, Number.MIN_VALUE, 1e9);
  const isShare = (text) => numberIn(text, 1e-6, 1);
  const isRate = (text) => numberIn(text, 1e-9, 1e9);
  const isSpare = (text) => numberIn(text, 0, 1000, true);

  /** The settings of an address. What cannot be is ignored; null where the address is that of a place in the page. */
  function decode(hash) {
    const text = hash.replace(/^#/, "");
    if (text !== "" && !text.includes("=")) return null;
    const from = new URLSearchParams(text);
    const settings = { ...initial };
    const list = (key, all, name) => {
      const asked = from.get(key);
      if (asked === null) return;
      const found = all.filter((one) => asked.split(",").includes(one));
      if (found.length > 0 || asked === "none") settings[name] = found;
    };
    const choice = (key, names) => {
      const asked = from.get(key);
      if (asked === "any") settings[key] = null;
      else if (names.includes(asked)) settings[key] = asked;
    };
    const set = (name, value) => {
      if (value !== undefined) settings[name] = value;
    };
    list("quant", model.quants, "quants");
    list("market", model.markets, "markets");
    for (const [key] of LIMITS) {
      const limit = isLimit(from.get(key));
      if (from.get(key) === "none") settings[key] = null;
      else if (limit !== undefined) settings[key] = fromMs(limit);
    }
    for (const key of CHOICES) choice(key, known[key]);
    set("headroom", isShare(from.get("headroom")));
    set("spare", isSpare(from.get("spare")));
    const rate = isRate(from.get("rps"));
    const share = isShare(from.get("utilisation"));
    if (rate !== undefined) Object.assign(settings, { rates: [rate], users: null });
    else if (share !== undefined) Object.assign(settings, { share, rates: null, users: null });
    return settings;
  }

  // The controls.

  let settings = { ...initial };
  /** Whether the table has every row. */
  let all = false;
  /** The sentences that are shown. */
  let said = "";

  function labelled(words, input) {
    return element("label", {}, `${words} `, input);
  }

  function checkboxes(legend, name, values) {
    const boxes = values.map((value) => element("input", { type: "checkbox", name, value }));
    const labels = boxes.map((box) => element("label", {}, box, ` ${sizewell.format.words(box.value)}`));
    return { boxes, field: element("fieldset", {}, element("legend", {}, legend), ...labels) };
  }

  function numberInput(name, properties) {
    return element("input", { type: "number", name, step: "any", min: "0", autocomplete: "off", ...properties });
  }

  /** A choice of one or any; where the report was asked for several, these together too. */
  function select(name, any, words) {
    const options = [["", any], ...known[name].map((value) => [value, words(value)])];
    if (Array.isArray(initial[name])) options.splice(1, 0, [SEVERAL, initial[name].map(words).join(", ")]);
    return element("select", { name }, ...options.map(([value, label]) => element("option", { value }, label)));
  }

  const valueOf = (name) => (Array.isArray(settings[name]) ? SEVERAL : settings[name] || "");
  const chosenIn = ({ name, value }) => (value === SEVERAL ? initial[name] : value || null);

  const quants = checkboxes("Quantization levels", "quant", model.quants);
  const markets = checkboxes("Markets", "market", model.markets);
  const limits = LIMITS.map(([key, words]) => ({ key, words, input: numberInput(key, { placeholder: "none" }) }));
  const choices = [
    ["Provider", select("provider", "any", String)],
    ["Region", select("region", "any", String)],
    ["Card", select("gpu", "any, or none", String)],
    ["Figures", select("only", "all", (basis) => `only ${basis}`)],
  ];
  const share = numberInput("utilisation", { min: "1", max: "100" });
  const rps = numberInput("rps", {});
  const headroom = numberInput("headroom", { min: "1", max: "100" });
  const spare = numberInput("spare", { step: "1", max: "1000" });
  const loads = [
    ["share", "a share of the paid time is used"],
    ["volume", "a volume of requests"],
  ];
  if (loadOf(initial) === "given") {
    loads.push(["given", sizewell.format.usage({ ...initial, share: undefined, thinkS: initial.think_s })]);
  }
  const radios = loads.map(([value]) => element("input", { type: "radio", name: "load", value }));

  const reset = element("button", { type: "button", className: "reset" }, "Reset");
  const form = element(
    "form",
    { className: "controls" },
    quants.field,
    element(
      "fieldset",
      {},
      element("legend", {}, "Limits on medians"),
      ...limits.map(({ words, input }) => labelled(`${words}, ms`, input)),
    ),
    markets.field,
    element(
      "fieldset",
      {},
      element("legend", {}, "Offers"),
      ...choices.map(([words, input]) => labelled(words, input)),
    ),
    element(
      "fieldset",
      { className: "load" },
      element("legend", {}, "Load"),
      element("div", {}, ...radios.map((radio, index) => element("label", {}, radio, ` ${loads[index][1]}`))),
      labelled("Used, %", share),
      labelled("Requests/s", rps),
      labelled("Headroom: load at most, %", headroom),
      labelled("Spare instances", spare),
    ),
    reset,
  );

  /** The settings into the controls. */
  function show() {
    for (const box of quants.boxes) box.checked = settings.quants.includes(box.value);
    for (const box of markets.boxes) box.checked = settings.markets.includes(box.value);
    for (const { key, input } of limits) input.value = settings[key] === null ? "" : ms(settings[key]);
    for (const [, input] of choices) input.value = valueOf(input.name);
    const load = loadOf(settings);
    for (const radio of radios) radio.checked = radio.value === load;
    share.value = percent(settings.share);
    rps.value = load === "volume" ? settings.rates[0] : FIRST_RPS;
    headroom.value = percent(settings.headroom);
    spare.value = settings.spare;
    for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
    enable(load);
  }

  /** Only what matters for the load can be changed. */
  function enable(load) {
    share.disabled = load !== "share";
    rps.disabled = load !== "volume";
    headroom.disabled = load === "share";
    spare.disabled = load === "share";
  }

  /** The number of a control; what it was before where the text is none that can be. */
  function numberOf(input, check, before) {
    const value = input.validity.badInput ? undefined : check(input.value);
    if (value === undefined) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    return value === undefined ? before : value;
  }

  /** A share that is given in percent. */
  function shareOf(input, before) {
    const value = numberOf(input, (text) => numberIn(text, 1e-4, 100), percent(before));
    return value === percent(before) ? before : value / 100;
  }

  function limitOf({ key, input }) {
    const emptied = input.value === "" && !input.validity.badInput;
    const before = settings[key] === null ? null : ms(settings[key]);
    const value = numberOf(input, emptied ? () => null : isLimit, before);
    return value === null ? null : value === before ? settings[key] : fromMs(value);
  }

  /** The load as the controls say; a share stays the initial one while a volume is given, as in the address. */
  function loadFrom() {
    const load = radios.find((radio) => radio.checked).value;
    enable(load);
    if (load === "share") {
      return { share: shareOf(share, settings.share), rates: null, users: null };
    }
    const { rates, users } = initial;
    const of = {
      share: initial.share,
      headroom: shareOf(headroom, settings.headroom),
      spare: numberOf(spare, isSpare, settings.spare),
    };
    if (load === "given") return { ...of, rates, users };
    const before = loadOf(settings) === "volume" ? settings.rates[0] : FIRST_RPS;
    return { ...of, rates: [numberOf(rps, isRate, before)], users: null };
  }

  /** The controls into the settings. */
  function take() {
    const checked = ({ boxes }) => boxes.filter((box) => box.checked).map((box) => box.value);
    const next = {
      ...settings,
      quants: checked(quants),
      markets: checked(markets),
      ...Object.fromEntries(choices.map(([, input]) => [input.name, chosenIn(input)])),
      ...loadFrom(),
    };
    for (const limit of limits) next[limit.key] = limitOf(limit);
    settings = next;
  }

  // What is shown of a ranking.

  const sentence = element("div", { className: "lead sentence" });
  sentence.setAttribute("aria-live", "polite");
  const charts = element("div", { className: "charts" });
  const title = element("h3", {});
  const asked = element("p", { className: "notes asked" });
  const table = element("table", {});
  const more = element("button", { type: "button", className: "more" });
  const below = element("div", { className: "notes below" });
  const left = element("div", {});
  const always = element("div", {});
  const alwaysCount = element("summary", {});
  const alwaysLeft = element("details", {}, alwaysCount, always);
  const leftAll = element("div", { className: "notes left-out" }, left, alwaysLeft);
  title.id = "explore-title";
  table.setAttribute("aria-labelledby", title.id);

  const several = (chosen) => (Array.isArray(chosen) ? chosen.join(", ") : chosen || "any");

  /** The settings in a line: paper has no controls. */
  function inWords() {
    const { format } = sizewell;
    const keeps = LIMITS.filter(([key]) => settings[key] !== null);
    const kept = keeps.map(([key, words]) => `${words} of at most ${format.seconds(settings[key])}`);
    return [
      kept.length > 0 ? kept.join(", ") : "no limits on TTFT, TPOT and E2E",
      `markets: ${settings.markets.map(format.words).join(", ") || "none"}`,
      `provider: ${several(settings.provider)}`,
      `region: ${several(settings.region)}, the cheapest of each type`,
      ...(settings.gpu ? [`card: ${several(settings.gpu)}`] : []),
      settings.only ? `only ${settings.only} figures` : "measured and projected figures",
    ].join("; ");
  }

  function sentencesOf(ranking) {
    if (settings.quants.length === 0) return ["No quantization level is chosen."];
    if (ranking.rows.length === 0) return ["No offer is left to rank: below is what was left out, and why."];
    return ranking.headline;
  }

  function leftOut({ quant, count, reason, examples }) {
    const level = quant !== null && settings.quants.length > 1 ? `${quant}: ` : "";
    const such = count > examples.length ? `such as ${examples.join(", ")}` : examples.join(", ");
    return `${level}${count} ${count === 1 ? "offer" : "offers"} left out: ${reason} (${such})`;
  }

  const list = (lines) => lines.map((line) => element("div", {}, line));

  /** Ranks, and shows what comes of it. */
  function update() {
    const { format, tables } = sizewell;
    const ranking = sizewell.rank(settings);
    const sentences = sentencesOf(ranking);
    // Screen readers are told of a sentence only if it changed.
    if (said !== sentences.join("\n")) sentence.replaceChildren(...sentences.map((line) => element("p", {}, line)));
    said = sentences.join("\n");
    charts.replaceChildren(...sizewell.charts.draw(ranking));
    const requests = `${format.tokens(model.prompt_tokens)} prompt and ${format.tokens(model.gen_tokens)} generated tokens`;
    const levels = ranking.quants.join(", ") || "no level";
    title.textContent = `Cost of a request in ${levels}: ${requests}, ${format.usage(ranking.usage)}`;
    asked.textContent = inWords();
    const some = sizewell.shown(ranking.rows, MOST);
    const rows = all ? ranking.rows.map((row, index) => ({ row, index })) : some;
    tables.fill(table, ranking, rows);
    more.hidden = some.length === ranking.rows.length;
    more.textContent = all ? `Show the first ${MOST} and what was measured` : `Show all ${ranking.rows.length} rows`;
    below.replaceChildren(...list(tables.notes(ranking, rows)));
    const few = `${model.thinned} measured batch sizes are not in this page; sizewell rank has them`;
    const thinned = model.thinned > 0 ? [few] : [];
    const [refused, chosen] = [true, false].map((whatever) => ranking.excluded.filter((one) => one.always === whatever));
    left.replaceChildren(...list([...chosen.map(leftOut), ...thinned]));
    const count = refused.reduce((sum, one) => sum + one.count, 0);
    alwaysLeft.hidden = count === 0;
    alwaysCount.textContent = `${count} offers left out whatever the settings, for ${refused.length} reasons`;
    always.replaceChildren(...list(refused.map(leftOut)));
  }

  /** The settings into the address, without an entry in the history for each. */
  function remember() {
    const hash = encode(settings);
    const place = location.pathname + location.search;
    try {
      history.replaceState(history.state, "", hash === "" ? place : `${place}#${hash}`);
    } catch {
      // Browsers refuse too many changes in a short time; the next one has all settings again.
    }
  }

  function change() {
    take();
    update();
    remember();
  }

  /** The settings of the address, on loading and whenever it changes. */
  function follow() {
    const found = decode(location.hash);
    if (found === null) return;
    settings = found;
    show();
    update();
  }

  if (!section.querySelector("h2")) section.append(element("h2", {}, "Other limits, markets and loads"));
  section.append(form, sentence, charts, title, asked);
  section.append(element("div", { className: "scroll" }, table), more, below, leftAll);
  sizewell.tables.enhance(table, "the ranking by these settings");

  form.addEventListener("input", change);
  form.addEventListener("submit", (event) => event.preventDefault());
  reset.addEventListener("click", () => {
    settings = { ...initial };
    all = false;
    show();
    update();
    remember();
  });
  more.addEventListener("click", () => {
    all = !all;
    update();
  });
  window.addEventListener("hashchange", follow);
  settings = decode(location.hash) || settings;
  show();
  update();

  sizewell.settings = () => ({ ...settings });
  sizewell.address = { encode, decode };
})(window.sizewell);
