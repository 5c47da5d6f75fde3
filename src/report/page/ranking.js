"use strict";
// Settings become ranked rows, from the data that the page carries: as sizing/rank chooses and orders them, so that
// the page says what `sizewell rank` says.
(function (sizewell) {
  const { cost } = sizewell;

  /** The tables of the script element "model", with names for the places in its rows. */
  function read(data) {
    const shapes = data.shapes.map(([provider, type, hardware, copies, label, incomplete]) => ({
      provider: data.providers[provider],
      type,
      hardware,
      copies,
      label,
      incomplete: Boolean(incomplete),
    }));
    const offers = data.offers.map(
      ([shape, region, market, usdPerH, egress, terms, hourly, ageDays, stale, remark]) => ({
        shape,
        region: data.regions[region],
        market: data.markets[market],
        usdPerH,
        egress: data.egress[egress],
        terms: terms >= 0 ? data.terms[terms] : null,
        // A string is what of it is not known.
        hourly: Array.isArray(hourly) ? hourly.map((index) => data.hourly[index]) : hourly,
        ageDays,
        stale: Boolean(stale),
        remark,
      }),
    );
    const fixed = data.fixed.map(([shape, usdPerH, why]) => ({ shape, usdPerH, why }));
    const own = data.own.map(([shape, prices]) => ({ shape, prices }));
    const refusals = new Set(data.hardware.flatMap((hardware) => Object.values(hardware.refused)));
    return { ...data, shapes, offers, fixed, own, refusals };
  }

  /** How much of the paid time is used: a demand where one is given, else a share. */
  function usageOf(settings) {
    const { rates, users, think_s: thinkS, headroom, spare, autoscale } = settings;
    if (rates === null && users === null) return { share: settings.share };
    return { rates, users, thinkS, headroom, spare, autoscale };
  }

  /** What the cost needs to know of the service. A disk holds the weights of the first level where none was asked for. */
  function serviceOf(model, quants) {
    const { failure_share: failureShare, answer_bytes: answerBytes } = model.service;
    return { failureShare, answerBytes, level: quants[0] || 0 };
  }

  /** Whether a name is the one that is asked for, or one of several. */
  function asksFor(wanted, name) {
    return wanted === null || (Array.isArray(wanted) ? wanted.includes(name) : wanted === name);
  }

  /**
   * The best that hardware can do at a level: the point with the most requests/s among those that keep the limits
   * (sizing/speed/speeds.rs, best). A string says why there is none.
   */
  function speedOf(model, hardware, quant, settings) {
    const within = (limit, time) => limit === null || time <= limit;
    let best = null;
    let any = false;
    for (const at of hardware.at) {
      const [index, ttft, ttftLo, ttftHi, tpot, tpotLo, tpotHi, counted] = at;
      const [level, batch, genTokens] = model.points[index];
      if (level !== quant) continue;
      any = true;
      const times = { ttft: [ttft, ttftLo, ttftHi], tpot: [tpot, tpotLo, tpotHi] };
      const e2e = cost.e2e(times.ttft, times.tpot, genTokens);
      const keeps = within(settings.ttft, ttft) && within(settings.tpot, tpot) && within(settings.e2e, e2e[0]);
      const most = batch / e2e[0];
      if (keeps && (best === null || most > best.most)) {
        best = { most, index, batch, ...times, e2e, requestsPerS: counted || cost.under(e2e, batch) };
      }
    }
    if (best) return best;
    const measured = hardware.basis !== "projected";
    const refused = hardware.refused[quant];
    if (refused) return refused;
    if (!any) return measured ? "it was not measured at this level" : "nothing is known of it at this level";
    return measured ? "no measured batch keeps the limits" : "no batch keeps the limits";
  }

  /** What was left out, by reason: how many offers, and some of their names. */
  class LeftOut {
    /** Of `refusals` no setting is the cause. */
    constructor(refusals) {
      this.refusals = refusals;
      this.reasons = new Map();
    }

    /** `quant` is null where the reason holds for every level. */
    add(reason, quant, shape) {
      const key = `${quant} ${reason}`;
      const always = this.refusals.has(reason);
      const entry = this.reasons.get(key) || { reason, quant, always, count: 0, examples: new Set() };
      entry.count += 1;
      if (entry.examples.size < 3) entry.examples.add(`${shape.provider}:${shape.type}`);
      this.reasons.set(key, entry);
    }

    list() {
      const all = [...this.reasons.values()].map((entry) => ({ ...entry, examples: [...entry.examples] }));
      return all.sort((a, b) => b.count - a.count);
    }
  }

  /** The offers that the settings ask for, whatever their speed; the others are counted. */
  function wanted(model, settings, leftOut) {
    const markets = new Set(settings.markets);
    const reject = (offer) => {
      const shape = model.shapes[offer.shape];
      if (!markets.has(offer.market)) return "in a market that is not chosen";
      const { basis, name } = model.hardware[shape.hardware];
      if (!asksFor(settings.provider, shape.provider)) return "of another provider";
      if (offer.region !== "any" && !asksFor(settings.region, offer.region)) return "in another region";
      if (!asksFor(settings.gpu, name)) return "of another card";
      return settings.only !== null && basis !== settings.only ? `${basis}, where only ${settings.only} is asked for` : null;
    };
    return model.offers.filter((offer) => {
      const why = reject(offer);
      if (why) leftOut.add(why, null, model.shapes[offer.shape]);
      return why === null;
    });
  }

  /** A ranking under way. */
  class Ranker {
    constructor(model, settings) {
      this.model = model;
      this.settings = settings;
      this.usage = usageOf(settings);
      this.quants = model.quants.flatMap((name, index) => (settings.quants.includes(name) ? [index] : []));
      this.service = serviceOf(model, this.quants);
      this.leftOut = new LeftOut(model.refusals);
      this.offers = wanted(model, settings, this.leftOut);
      this.rows = [];
    }

    /** Every row of a level. Speed is computed once for each kind of hardware, and its use once for each type. */
    addLevel(quant) {
      const speeds = this.model.hardware.map((hardware) => speedOf(this.model, hardware, quant, this.settings));
      const placed = this.model.shapes.map((shape) => {
        const speed = speeds[shape.hardware];
        if (typeof speed === "string") return speed;
        return cost.place(speed, shape.copies, this.usage) || "its rate cannot be computed with";
      });
      const priced = this.addOffers(quant, placed);
      this.addFixed(quant, placed, priced);
      this.addOwn(quant, placed);
    }

    basisOf(shape) {
      return this.model.hardware[shape.hardware].basis;
    }

    /** The cheapest region of each type and market (sizing/rank/ranking.rs, add_offers, cheapest_regions). */
    addOffers(quant, placed) {
      const level = this.model.quants[quant];
      const kept = new Map();
      for (const offer of this.offers) {
        const shape = this.model.shapes[offer.shape];
        const on = placed[offer.shape];
        if (typeof on === "string") {
          this.leftOut.add(on, level, shape);
          continue;
        }
        const about = this.about(offer, on, this.basisOf(shape));
        const key = `${offer.shape} ${offer.market}`;
        const before = kept.get(key);
        if (!before || about < before.about) kept.set(key, { offer, shape, on, about });
      }
      const priced = new Set();
      for (const { offer, shape, on } of kept.values()) {
        const parts = this.costOf(offer, on);
        if (typeof parts === "string") {
          this.leftOut.add(parts, level, shape);
          continue;
        }
        priced.add(`${shape.provider}:${shape.type}`);
        this.push(quant, shape, on, parts, {
          region: offer.region,
          market: offer.market,
          usd_per_h: offer.usdPerH,
          price_age_days: offer.ageDays,
          stale: offer.stale,
          dated: true,
          remark: offer.remark,
        });
      }
      return priced;
    }

    costOf(offer, on) {
      return cost.ofOffer(offer, on, this.usage, this.service);
    }

    /** Regions of measured hardware are compared by the whole cost, of projected without disks and traffic. */
    about(offer, on, basis) {
      if (basis === "projected") return cost.about(offer, on, this.usage);
      const parts = this.costOf(offer, on);
      return typeof parts === "string" ? Infinity : cost.total(parts)[0];
    }

    /** The measured machine at the user's price or without one, where no offer of its type priced it. */
    addFixed(quant, placed, priced) {
      for (const { shape: index, usdPerH, why } of this.model.fixed) {
        const shape = this.model.shapes[index];
        const on = placed[index];
        const { only } = this.settings;
        if ((only !== null && only !== this.basisOf(shape)) || priced.has(`${shape.provider}:${shape.type}`)) continue;
        if (typeof on === "string") {
          this.leftOut.add(on, this.model.quants[quant], shape);
          continue;
        }
        const parts = usdPerH === null ? null : cost.atPrice(usdPerH, on, this.service);
        this.push(quant, shape, on, parts, { usd_per_h: usdPerH, why_no_cost: why });
      }
    }

    /** Hardware of one's own. */
    addOwn(quant, placed) {
      const { only } = this.settings;
      for (const { shape: index, prices } of this.model.own) {
        const shape = this.model.shapes[index];
        const on = placed[index];
        if (only !== null && only !== this.basisOf(shape)) continue;
        if (typeof on === "string") {
          this.leftOut.add(on, this.model.quants[quant], shape);
          continue;
        }
        const usd = prices[0].reduce((sum, [, price]) => sum + price, 0);
        const parts = cost.ofOwn(prices, on, this.service);
        this.push(quant, shape, on, parts, { market: "on_prem", usd_per_h: usd, dated: true });
      }
    }

    /** Speed, use and cost on one offer become a row (sizing/rank/row.rs). */
    push(quant, shape, on, parts, more) {
      const { model, usage, service } = this;
      const hardware = model.hardware[shape.hardware];
      const [, batch, , doubts, device] = model.points[on.speed.index];
      const demand = usage.share === undefined;
      const fleet = cost.fleetIn(on, more.market);
      const request = parts && cost.total(parts);
      // What is projected to a card does not follow from the times of a CPU, and so not from their doubts.
      const ofCard = Boolean(hardware.tier) && (device || model.device || "cpu") === "cpu";
      this.rows.push({
        provider: shape.provider,
        instance_type: shape.type,
        region: null,
        market: null,
        hardware: shape.label,
        quant: model.quants[quant],
        level: quant,
        batch,
        basis: hardware.basis,
        tier: hardware.tier,
        ttft_s: on.speed.ttft,
        tpot_s: on.speed.tpot,
        e2e_s: on.speed.e2e,
        requests_per_s: on.rate,
        instances: demand ? fleet.instances : null,
        utilisation: demand ? fleet.utilisation : null,
        components: parts && cost.named(parts),
        usd_per_request: request,
        usd_per_thousand_requests: request && cost.times(request, 1e3),
        usd_per_million_tokens: request && cost.times(request, 1e6 / model.gen_tokens),
        usd_per_month: request && demand ? cost.month(request, on, 1 - service.failureShare) : null,
        incomplete: shape.incomplete,
        doubts: ofCard ? [] : doubts.map((index) => model.doubts[index]),
        price_age_days: null,
        stale: false,
        dated: false,
        why_no_cost: null,
        tied_with_first: false,
        on_front: false,
        ...more,
      });
    }
  }

  /** By bytes, as the program sorts, rather than by the reader's language. */
  function compare(a, b) {
    return a < b ? -1 : a > b ? 1 : 0;
  }

  /**
   * Cheapest first, rows without a cost last. Costs that are equal to 12 digits are equal: the program computes in
   * decimals, where they are.
   */
  function sort(rows) {
    const keyed = rows.map((row) => ({
      row,
      cost: row.usd_per_request ? Number(row.usd_per_request[0].toPrecision(12)) : Infinity,
    }));
    keyed.sort(
      (a, b) =>
        compare(a.cost, b.cost) ||
        compare(a.row.provider, b.row.provider) ||
        compare(a.row.instance_type, b.row.instance_type) ||
        compare(a.row.region || "", b.row.region || "") ||
        a.row.level - b.row.level,
    );
    return keyed.map(({ row }) => row);
  }

  /** Marks rows whose interval overlaps the first one's (sizing/rank/front.rs). */
  function markTies(rows) {
    const first = rows.length > 0 && rows[0].usd_per_request;
    if (!first) return;
    for (const row of rows.slice(1)) {
      row.tied_with_first = Boolean(row.usd_per_request && cost.overlaps(row.usd_per_request, first));
    }
  }

  /** Marks the Pareto front: each row is faster, from request to last token, than every cheaper one. */
  function markFront(rows) {
    let fastest = Infinity;
    for (const row of rows) {
      if (!row.usd_per_request) continue;
      row.on_front = row.e2e_s[0] < fastest;
      fastest = Math.min(fastest, row.e2e_s[0]);
    }
  }

  /** What is cheapest, measured and projected, in a sentence or two (sizing/rank/headline.rs). */
  function headline(rows) {
    const { money } = sizewell.format;
    const priced = (basis) => rows.find((row) => row.basis === basis && row.usd_per_request && !row.incomplete);
    const text = (row) => {
      const [value, lo, hi] = row.usd_per_million_tokens;
      const place = row.region && row.region !== "any" ? ` in ${row.region}` : "";
      const doubts = row.doubts.length > 0 ? `; doubtful: ${row.doubts.join(", ")}` : "";
      const range = `${money(value)} per million generated tokens (${money(lo)} to ${money(hi)})`;
      return `${row.provider}:${row.instance_type}${place}, ${row.quant} at batch ${row.batch}: ${range}${doubts}`;
    };
    const lines = [];
    const [imported, measured, projected] = ["imported", "measured", "projected"].map(priced);
    if (imported) lines.push(`Cheapest of what another tool measured: ${text(imported)}.`);
    if (measured) {
      lines.push(`Cheapest measured: ${text(measured)}.`);
    } else if (lines.length === 0 && rows.every((row) => row.basis === "projected")) {
      lines.push("Nothing that was measured keeps the limits, or was asked for.");
    } else if (lines.length === 0) {
      lines.push("Nothing measured has a price: --as provider:type or --price-per-hour gives this machine one.");
    }
    if (projected) {
      const tied = rows.filter((row) => row.tied_with_first).length;
      const ties = rows[0].basis === "projected" && tied > 0 ? ` ${tied} others cannot be told from it.` : "";
      lines.push(`Cheapest projected, not measured: ${text(projected)}.${ties}`);
    }
    return lines;
  }

  /**
   * Ranks by settings as in the model's own; those that are missing are the initial ones. Gives the rows, cheapest
   * first, what was left out by reason, and the sentences.
   */
  function rank(settings) {
    const { model } = sizewell;
    const all = { ...model.settings, ...settings };
    const ranker = new Ranker(model, all);
    for (const quant of ranker.quants) ranker.addLevel(quant);
    const rows = sort(ranker.rows);
    markTies(rows);
    markFront(rows);
    const quants = ranker.quants.map((index) => model.quants[index]);
    return { rows, excluded: ranker.leftOut.list(), headline: headline(rows), quants, usage: ranker.usage };
  }

  /**
   * The rows of a table: the first `most` that are not the same hardware of the same provider at the same cost as one
   * above, and every measured one; each with its place (report/content/ranking.rs, shown).
   */
  function shown(rows, most) {
    const out = [];
    const above = new Set();
    rows.forEach((row, index) => {
      const copies = row.hardware.indexOf("x ");
      const cents = row.usd_per_million_tokens && row.usd_per_million_tokens[0].toPrecision(6);
      const card = copies < 0 ? null : row.hardware.slice(copies + 2);
      const key = JSON.stringify([row.provider, row.market, row.quant, card, cents]);
      const repeats = card !== null && above.has(key);
      if (row.basis === "measured" || (out.length < most && !repeats)) {
        out.push({ row, index });
        above.add(key);
      }
    });
    return out;
  }

  const embedded = document.getElementById("model");
  sizewell.model = embedded ? read(JSON.parse(embedded.textContent)) : null;
  Object.assign(sizewell, { rank, shown, compare });
})(window.sizewell);
