// Opens a report in a browser: what its script computes must be what `sizewell rank` says, and the page must do what its
// controls promise.
//
//   npm install --no-package-lock
//   node page.test.mjs REPORT.html SIZEWELL_BINARY RUN_FOLDER [SCREENSHOT_DIR] [--hostile PAGE] [--flags="--cold-start 20s"]
//
// The report must be of the same run, catalog and day as the binary sees; --flags has the options that the report was
// made with, quoted and with spaces between. CHROMIUM names the browser, else it is /usr/bin/chromium.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs, promisify } from "node:util";
import { chromium } from "playwright-core";
import { rankings, sameSentences } from "./rankings.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { hostile: { type: "string" }, flags: { type: "string", default: "" } },
});
const [report, binary, run, pictures] = positionals;
if (!report || !binary || !run) {
  console.error("node page.test.mjs REPORT.html SIZEWELL_BINARY RUN_FOLDER [SCREENSHOT_DIR] [--hostile PAGE] [--flags=FLAGS]");
  process.exit(2);
}
const address = pathToFileURL(path.resolve(report)).href;

/** Options that say how the load is given, of which the settings have all or none. */
const LOADS = ["--utilisation", "--rps"];

/** Ranks as the command line does; the error says what it said. */
async function program(flags) {
  const own = options.flags.split(" ").filter(Boolean);
  // What the settings say themselves is not said twice; of the others each has a value or is the last before a name.
  const more = [];
  for (let at = 0; at < own.length; ) {
    const next = own.findIndex((word, index) => index > at && word.startsWith("--"));
    const end = next < 0 ? own.length : next;
    const said = LOADS.includes(own[at]) ? LOADS.some((name) => flags.includes(name)) : flags.includes(own[at]);
    if (!said) more.push(...own.slice(at, end));
    at = end;
  }
  const asked = ["rank", run, "--format", "json", "--quiet", ...more, ...flags];
  const { stdout } = await promisify(execFile)(binary, asked, { maxBuffer: 1 << 28 });
  return JSON.parse(stdout);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

/** What no page may do: say anything on the console, fail, open a dialog, or ask for anything but itself. */
const faults = [];

async function open(url, settings = {}) {
  const { width = 1280, ...more } = settings;
  const context = await browser.newContext({ viewport: { width, height: 900 }, ...more });
  const page = await context.newPage();
  page.on("console", (message) => faults.push(`console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("dialog", async (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  page.on("request", (request) => {
    const of = (text) => text.split("#")[0];
    if (of(request.url()) !== of(url)) faults.push(`request: ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

async function picture(page, name, more = { fullPage: true }) {
  if (pictures) {
    fs.mkdirSync(pictures, { recursive: true });
    await page.screenshot({ path: path.join(pictures, `${name}.png`), ...more });
  }
}

let failed = 0;
async function test(name, body) {
  const start = Date.now();
  faults.length = 0;
  try {
    const said = await body();
    assert.deepEqual(faults, [], "what no page may do");
    console.log(`ok    ${name} (${Date.now() - start} ms)${said ? `: ${said}` : ""}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}: ${error.message}`);
  }
}

const table = (page) => page.locator("#explore .scroll table");
const input = (page, name, value) =>
  page.locator(value === undefined ? `#explore [name="${name}"]` : `#explore [name="${name}"][value="${value}"]`);
/** Texts of the cells of a column of a table. */
const column = (of, title) =>
  of.evaluate((element, wanted) => {
    const heads = [...element.tHead.rows[0].cells].map((head) => head.textContent);
    return [...element.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[heads.indexOf(wanted)].textContent);
  }, title);
/** What a reader sees of the settings: table, sentence, charts. */
const state = (page) =>
  page.evaluate(() => ({
    settings: window.sizewell.settings(),
    table: document.querySelector("#explore table").textContent,
    sentence: document.querySelector("#explore [aria-live]").textContent,
    charts: document.querySelector("#explore .charts").innerHTML,
    controls: [...document.querySelectorAll("#explore form :is(input, select)")].map((c) => [
      c.name,
      c.type === "checkbox" || c.type === "radio" ? c.checked : c.value,
    ]),
  }));

await test("the page opens without a word on the console and asks for nothing", async () => {
  const page = await open(address);
  assert.ok((await table(page).locator("tbody tr").count()) > 0, "the ranking has rows");
  const charts = await page.locator("#explore figure svg").count();
  assert.ok(charts >= 1 && charts <= 3, `${charts} charts`);
  for (const svg of await page.locator("#explore figure svg").all()) {
    assert.equal(await svg.getAttribute("role"), "img");
    assert.ok((await svg.evaluate((e) => e.querySelector(":scope > title").textContent)).length > 10);
    assert.ok((await svg.evaluate((e) => e.querySelector(":scope > desc").textContent)).length > 10);
  }
  for (const caption of await page.locator("#explore figcaption").allTextContents()) {
    assert.match(caption, /\d+ offers: \d+ (measured|projected|imported)/);
  }
  const policy = page.locator('meta[http-equiv="Content-Security-Policy"]');
  if ((await policy.count()) > 0) assert.match(await policy.getAttribute("content"), /default-src 'none'/);
  await picture(page, "default");
  await page.context().close();
});

await test("every control has a label", async () => {
  const page = await open(address);
  const bare = await page.evaluate(() =>
    [...document.querySelectorAll("input, select, textarea")]
      .filter((control) => control.labels.length === 0 && !control.ariaLabel)
      .map((control) => control.outerHTML),
  );
  assert.deepEqual(bare, []);
  const mute = await page.evaluate(() => [...document.querySelectorAll("button")].filter((b) => b.textContent === "").length);
  assert.equal(mute, 0, "buttons without words");
  await page.context().close();
});

await test("the page ranks as the program does", async () => {
  const page = await open(address);
  // Commitments are ranked whatever the markets.
  const committed = [...options.flags.matchAll(/(reserved_\w+)=/g)].map(([, market]) => market);
  const said = await rankings(page, program, committed);
  await page.context().close();
  return said;
});

await test("a ranking takes less than 100 ms", async () => {
  const page = await open(address);
  const took = await page.evaluate(() => {
    const { model, rank } = window.sizewell;
    const all = { ...model.settings, quants: model.quants, markets: model.markets };
    const times = [1, 2, 3, 4, 5].map((rps) => {
      const start = performance.now();
      rank({ ...all, rates: [rps] });
      return performance.now() - start;
    });
    return times.sort((a, b) => a - b)[2];
  });
  assert.ok(took < 100, `${took} ms`);
  await page.context().close();
  return `${took.toFixed(1)} ms with every level and market`;
});

await test("the table shows the figures of the rows", async () => {
  const page = await open(address);
  await input(page, "market", "spot").check().catch(() => {});
  const rows = await page.evaluate(() => {
    const { rank, settings, shown, format } = window.sizewell;
    return shown(rank(settings()).rows, 25).map(({ row, index }) => ({
      index,
      cost: row.usd_per_million_tokens ? format.money(row.usd_per_million_tokens[0]) : "-",
      value: row.usd_per_million_tokens ? row.usd_per_million_tokens[0] : null,
      e2e: format.seconds(row.e2e_s[0]),
      batch: String(row.batch),
      hardware: row.hardware,
    }));
  });
  assert.deepEqual(await column(table(page), "$/M tokens"), rows.map((row) => row.cost));
  assert.deepEqual(await column(table(page), "E2E"), rows.map((row) => row.e2e));
  assert.deepEqual(await column(table(page), "batch"), rows.map((row) => row.batch));
  assert.deepEqual(await column(table(page), "hardware"), rows.map((row) => row.hardware));
  for (const { cost, value } of rows.filter((row) => row.value !== null)) {
    assert.ok(Math.abs(Number(cost.slice(1)) / value - 1) < 0.006, `${cost} is ${value}`);
  }
  const more = page.locator("#explore button.more");
  if (await more.isVisible()) {
    await more.click();
    const all = await page.evaluate(() => window.sizewell.rank(window.sizewell.settings()).rows.length);
    assert.equal(await table(page).locator("tbody tr").count(), all, "show all");
    await more.click();
  }
  assert.equal(await table(page).locator("tbody tr").count(), rows.length);
  await page.context().close();
});

await test("the first table of the report and the ranking by its settings say the same", async () => {
  const page = await open(address);
  const said = await page.evaluate(() => {
    const tables = [...document.querySelectorAll(".scroll table")].filter((t) => !t.closest("#explore"));
    const heads = (t) => [...t.tHead.rows[0].cells].map((head) => head.textContent.trim());
    const fixed = tables.find((t) => heads(t).includes("$/M tokens"));
    if (!fixed) return null;
    const own = document.querySelector("#explore .scroll table");
    const rows = (t, titles) =>
      [...t.tBodies[0].rows].map((row) => titles.map((title) => row.cells[heads(t).indexOf(title)].textContent.trim()));
    const titles = heads(own).filter((title) => heads(fixed).includes(title));
    return { titles, fixed: rows(fixed, titles), own: rows(own, titles) };
  });
  assert.ok(said, "the report has a ranking without the script");
  assert.equal(said.own.length, said.fixed.length);
  const [offer, cost] = ["offer", "$/M tokens"].map((title) => said.titles.indexOf(title));
  const bare = (name) => name.replace(/ \^$/, "");
  said.own.forEach((row, at) => {
    // Of rows that cost the same the page may show another than the program: rounding decides which is first.
    if (bare(row[offer]) === bare(said.fixed[at][offer])) {
      sameSentences(row.map(bare), said.fixed[at].map(bare));
    } else {
      sameSentences([row[cost]], [said.fixed[at][cost]]);
    }
  });
  await page.context().close();
  return `${said.own.length} rows, ${said.titles.length} columns`;
});

await test("a head sorts its column, by click and by Enter", async () => {
  const page = await open(address);
  const of = table(page);
  const values = () =>
    of.evaluate((element) => {
      const at = [...element.tHead.rows[0].cells].findIndex((head) => head.textContent === "E2E");
      return [...element.tBodies[0].rows].map((row) => Number(row.cells[at].dataset.v));
    });
  const before = await values();
  const head = of.locator("th", { hasText: "E2E" });
  await head.click();
  assert.equal(await head.getAttribute("aria-sort"), "ascending");
  assert.deepEqual(await values(), [...before].sort((a, b) => a - b));
  await head.locator("button").focus();
  await page.keyboard.press("Enter");
  assert.equal(await head.getAttribute("aria-sort"), "descending");
  assert.deepEqual(await values(), [...before].sort((a, b) => b - a));
  await page.keyboard.press("Enter");
  assert.equal(await head.getAttribute("aria-sort"), "none");
  assert.deepEqual(await values(), before);
  await page.context().close();
});

await test("tables of the report sort by value with units, dashes last", async () => {
  const page = await open(address);
  const wrong = await page.evaluate(() => {
    const { valueOf } = window.sizewell.tables;
    const cell = (text) => Object.assign(document.createElement("td"), { textContent: text });
    const value = (text) => valueOf(cell(text));
    const out = [];
    const same = (text, wanted) => {
      const got = value(text);
      if (got !== wanted && !(Math.abs(got / wanted - 1) < 1e-12)) out.push(`${text}: ${got}`);
    };
    same("$0.119", 0.119);
    same("133 ms", 0.133);
    same("2.1 GiB", 2.1 * 1024 ** 3);
    same("±3 %", 3);
    same("12.3 ms ±1.2%", 0.0123);
    same("$0.01 - $0.05", 0.01);
    same("1=", 1);
    same("98 d !", 98);
    same("x 1.50", 1.5);
    same("-", null);
    same("", null);
    same("2x NVIDIA L4", "2x NVIDIA L4");
    same("2026-11-25", "2026-11-25");
    return out;
  });
  assert.deepEqual(wrong, []);
  let sorted = 0;
  for (const of of await page.locator(".scroll table").all()) {
    const heads = await of.locator("thead th").count();
    if (heads === 0 || !(await of.isVisible())) continue;
    for (let at = 0; at < heads; at += 1) {
      const head = of.locator("thead th").nth(at);
      for (const direction of [1, -1]) {
        await head.locator("button").dispatchEvent("click");
        const values = await of.evaluate((element, column) => {
          const { valueOf } = window.sizewell.tables;
          return [...element.tBodies[0].rows].map((row) => valueOf(row.cells[column]));
        }, at);
        const real = values.filter((value) => value !== null);
        assert.ok(values.slice(real.length).every((value) => value === null), "dashes are last");
        if (real.every((value) => typeof value === "number")) {
          const wanted = [...real].sort((a, b) => direction * (a - b));
          assert.deepEqual(real, wanted, `column ${at} of a table`);
          sorted += 1;
        }
      }
    }
  }
  assert.ok(sorted > 10, `${sorted} columns were sorted`);
  await page.context().close();
  return `${sorted / 2} columns of numbers`;
});

await test("a filter box leaves the rows that have its words", async () => {
  const page = await open(address);
  const boxes = page.locator(".filter:visible");
  assert.ok((await boxes.count()) > 0);
  const sizes = await page.evaluate(() =>
    [...document.querySelectorAll(".scroll table")].map((t) => [t.tBodies[0].rows.length, !t.closest(".scroll").previousElementSibling.hidden]),
  );
  for (const [rows, box] of sizes) assert.equal(box, rows > 8, `a table of ${rows} rows`);
  const of = table(page);
  const names = await column(of, "offer");
  const word = names[0].split(":")[0];
  const field = page.locator("#explore .filter input");
  await field.fill(word.toUpperCase());
  const wanted = names.filter((name) => name.toLowerCase().includes(word));
  const left = await column(of, "offer");
  assert.ok(left.length >= wanted.length && left.length > 0);
  assert.equal(await page.locator("#explore .filter .count").textContent(), `${left.length} of ${names.length} rows`);
  await field.fill("no such thing");
  assert.deepEqual(await column(of, "offer"), []);
  await field.fill("");
  assert.deepEqual(await column(of, "offer"), names);
  await page.context().close();
});

await test("a change of a control changes the table, the charts, the sentence and the address", async () => {
  const page = await open(address);
  const model = await page.evaluate(() => ({ quants: window.sizewell.model.quants, own: window.sizewell.settings() }));
  const before = await state(page);
  assert.equal(await page.evaluate(() => location.hash), "", "nothing differs at first");
  const level = model.quants.find((quant) => !model.own.quants.includes(quant));
  if (level) {
    await input(page, "quant", level).check();
    const after = await state(page);
    assert.notEqual(after.table, before.table);
    assert.notEqual(after.charts, before.charts);
    assert.match(await page.evaluate(() => location.hash), new RegExp(`quant=.*${level}`));
  }
  const median = await page.evaluate(() => {
    const { rank, settings } = window.sizewell;
    const times = rank(settings()).rows.map((row) => row.e2e_s[0]).sort((a, b) => a - b);
    return Math.ceil(times[Math.floor(times.length / 2)] * 1e3);
  });
  await input(page, "e2e").fill(String(median));
  await input(page, "load", "volume").check();
  await input(page, "rps").fill("25");
  await input(page, "headroom").fill("60");
  const spare = model.own.spare + 1;
  await input(page, "spare").fill(String(spare));
  const after = await state(page);
  assert.deepEqual(
    { ...after.settings, quants: null },
    { ...model.own, quants: null, e2e: median * 1e-3, rates: [25], users: null, headroom: 0.6, spare },
  );
  for (const part of ["table", "charts"]) assert.notEqual(after[part], before[part], part);
  assert.ok((await column(table(page), "instances")).every((text) => Number(text) >= 2), "whole instances and one spare");
  const hash = await page.evaluate(() => location.hash);
  for (const part of [`e2e=${median}`, "rps=25", "headroom=0.6", `spare=${spare}`]) assert.ok(hash.includes(part), `${part} in ${hash}`);
  await picture(page, "changed");

  const again = await open(address + hash);
  assert.deepEqual(await state(again), after, "the address opened anew");
  await again.context().close();

  await page.evaluate(() => {
    location.hash = "#utilisation=0.4";
  });
  await page.waitForFunction(() => window.sizewell.settings().share === 0.4);
  assert.deepEqual((await state(page)).settings, { ...model.own, share: 0.4, rates: null, users: null }, "hashchange");
  await page.evaluate(() => {
    location.hash = "#explore";
  });
  await page.waitForTimeout(50);
  assert.equal((await state(page)).settings.share, 0.4, "a place in the page is no setting");

  await page.locator("#explore button.reset").click();
  assert.deepEqual(await state(page), before, "reset");
  assert.equal(await page.evaluate(() => location.href), address, "reset clears the address");
  await page.context().close();
});

await test("each control does what it says", async () => {
  const page = await open(address);
  const rows = () => page.evaluate(() => window.sizewell.rank(window.sizewell.settings()).rows);
  const market = await page.evaluate(() => {
    const { markets, settings } = window.sizewell.model;
    return markets.find((name) => !settings.markets.includes(name));
  });
  if (market) {
    await input(page, "market", market).check();
    assert.ok((await rows()).some((row) => row.market === market), market);
    await page.locator("#explore button.reset").click();
  }
  const provider = (await rows()).find((row) => row.region).provider;
  await input(page, "provider").selectOption(provider);
  assert.ok((await rows()).every((row) => row.provider === provider || row.region === null), provider);
  await page.locator("#explore button.reset").click();
  const { region } = (await rows()).find((row) => row.region && row.region !== "any");
  await input(page, "region").selectOption(region);
  assert.ok((await rows()).every((row) => [region, "any", null].includes(row.region)), region);
  assert.match(await page.locator("#explore .left-out").textContent(), /\d+ offers? left out: in another region/);
  await page.locator("#explore button.reset").click();
  const bases = await input(page, "only").evaluate((element) => [...element.options].map((option) => option.value));
  assert.ok(bases.includes("projected"), "projected figures can be chosen");
  for (const basis of bases.filter(Boolean)) {
    await input(page, "only").selectOption(basis);
    assert.ok((await rows()).every((row) => row.basis === basis), basis);
  }
  await page.locator("#explore button.reset").click();
  // Of hardware by the hour: what serverless costs does not follow the share.
  const cost = async () => (await rows()).find((row) => row.market === "on_demand").usd_per_request[0];
  await input(page, "load", "share").check();
  await input(page, "utilisation").fill("100");
  const whole = await cost();
  await input(page, "utilisation").fill("50");
  assert.ok((await cost()) > whole * 1.5, "half the use, about twice the cost");
  await input(page, "utilisation").fill("-3");
  assert.equal(await input(page, "utilisation").getAttribute("aria-invalid"), "true");
  assert.equal((await state(page)).settings.share, 0.5, "what cannot be is not taken");
  await page.locator("#explore button.reset").click();
  await input(page, "ttft").fill("0.000001");
  assert.match(await page.locator("#explore [aria-live]").textContent(), /No offer is left to rank/);
  assert.match(await page.locator("#explore .left-out").textContent(), /keeps the limits/);
  for (const box of await page.locator('#explore [name="quant"]').all()) await box.uncheck();
  assert.match(await page.locator("#explore [aria-live]").textContent(), /No quantization level/);
  await page.context().close();
});

await test("controls can be used with the keyboard", async () => {
  const page = await open(address);
  const before = await state(page);
  await page.locator("#explore h2").first().click();
  const first = page.locator('#explore [name="quant"]').last();
  await first.focus();
  await page.keyboard.press("Space");
  assert.notEqual((await state(page)).settings.quants.join(), before.settings.quants.join());
  const seen = new Set();
  const names = await page.evaluate(() =>
    [...document.querySelectorAll("#explore form :is(input, select):enabled")].map((control) => control.name),
  );
  for (let press = 0; press < 60; press += 1) {
    await page.keyboard.press("Tab");
    seen.add(await page.evaluate(() => document.activeElement.name || document.activeElement.className));
  }
  for (const name of [...names.filter((n) => n !== "quant"), "reset", "sort"]) {
    assert.ok(seen.has(name), `Tab reaches ${name}`);
  }
  await page.context().close();
});

await test("what cannot be in an address is ignored", async () => {
  const plain = await open(address);
  const wanted = await state(plain);
  await plain.context().close();
  const bad = [
    "quant=f7&market=barter&provider=nobody&region=atlantis&only=guessed",
    "ttft=-1&tpot=abc&e2e=0&rps=-5&headroom=7&spare=1.5",
    "utilisation=0&rps=NaN&spare=-1&headroom=0&__proto__=1&constructor=2",
    "ttft=Infinity&quant=%3Cscript%3Ealert(1)%3C/script%3E&=&&==&%",
    "provider=toString&region=hasOwnProperty",
  ];
  for (const hash of bad) {
    const page = await open(`${address}#${hash}`);
    assert.deepEqual(await state(page), wanted, hash);
    await page.context().close();
  }
});

await test("settings come back from every address that the page writes", async () => {
  const page = await open(address);
  const wrong = await page.evaluate(() => {
    const { address: at, model } = window.sizewell;
    const own = window.sizewell.settings();
    const region = model.regions.find((name) => name !== "any") || null;
    const changes = [
      {},
      { quants: [] },
      { quants: model.quants },
      { markets: model.markets },
      { markets: [] },
      { ttft: 0.0123, tpot: 7e-5, e2e: 3 },
      { provider: model.shapes[model.offers[0].shape].provider, region, only: "projected" },
      { share: 0.123456789, rates: null, users: null },
      { share: own.share, rates: [0.001], users: null, headroom: 0.55, spare: 3 },
    ];
    const near = (a, b) => JSON.stringify(a, (_, v) => (typeof v === "number" ? Number(v.toPrecision(12)) : v)) ===
      JSON.stringify(b, (_, v) => (typeof v === "number" ? Number(v.toPrecision(12)) : v));
    return changes.map((change) => ({ ...own, ...change })).filter((s) => !near(at.decode(`#${at.encode(s)}`), s));
  });
  assert.deepEqual(wrong, []);
  await page.context().close();
});

await test("without JavaScript the report stands", async () => {
  const page = await open(address, { javaScriptEnabled: false });
  assert.ok((await page.locator(".scroll table").count()) > 2, "tables");
  assert.ok((await page.locator("table tbody tr").count()) > 10, "rows");
  assert.ok((await page.locator("figure svg").count()) > 1, "plots");
  assert.equal(await page.locator("#explore *").count(), 0, "nothing that would not work");
  await picture(page, "no-script");
  await page.context().close();
});

await test("on paper there are no controls", async () => {
  const page = await open(address);
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.locator("#explore form").isVisible(), false);
  for (const box of await page.locator(".filter, #explore button.more").all()) assert.equal(await box.isVisible(), false);
  assert.ok(await table(page).isVisible());
  assert.ok(await page.locator("#explore figure svg").first().isVisible());
  await picture(page, "print");
  if (pictures) await page.pdf({ path: path.join(pictures, "print.pdf"), format: "A4" });
  await page.context().close();
});

await test("a narrow screen is not wider than it is", async () => {
  const page = await open(address, { width: 480 });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  const wide = await page.evaluate(() =>
    [...document.querySelectorAll("#explore, #explore form, #explore .charts, #explore .filter, .filter")]
      .filter((e) => e.getBoundingClientRect().right > 481)
      .map((e) => e.className || e.id),
  );
  assert.deepEqual(wide, []);
  assert.ok(width <= 480, `the page is ${width} px wide`);
  await picture(page, "narrow");
  await page.context().close();
});

if (options.hostile) {
  await test("hostile names are text", async () => {
    const page = await open(pathToFileURL(path.resolve(options.hostile)).href);
    assert.ok((await page.locator("body").textContent()).includes("<script"), "the name is shown as it is");
    const own = await page.locator("#explore").textContent();
    await page.evaluate(() => {
      for (const box of document.querySelectorAll('#explore input[type="checkbox"]')) if (!box.checked) box.click();
    });
    const more = page.locator("#explore button.more");
    if (await more.isVisible()) await more.click();
    const foreign = await page.evaluate(() => ({
      scripts: document.querySelectorAll("#explore script, #explore img, #explore iframe, #explore object").length,
      handlers: [...document.querySelectorAll("#explore *")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
    }));
    assert.deepEqual(foreign, { scripts: 0, handlers: 0 });
    await picture(page, "hostile");
    await page.context().close();
    return own.includes("<script") ? "in the ranking too" : "not in the ranking";
  });
}

await browser.close();
console.log(failed === 0 ? "all passed" : `${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
