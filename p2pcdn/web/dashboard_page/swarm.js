// The swarm as it is now: a dot a viewer, a line a data channel. No ids of people in it.

class Swarm {
  constructor(canvas) {
    this.canvas = canvas;
    this.nodes = new Map();
    this.links = [];
    this.groups = [];
    this.heat = 0;
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerleave", tip.hide);
    new ResizeObserver(() => this.live && this.show(this.live)).observe(canvas);
  }

  show(live) {
    this.live = live;
    const before = this.nodes;
    const resized = this.size();
    const sizes = new Map();
    for (const node of live.nodes) sizes.set(node.content, (sizes.get(node.content) ?? 0) + 1);
    this.groups = [...sizes].sort((a, b) => b[1] - a[1]).map(([content, n]) => ({ content, n }));
    this.place();
    const group = new Map(this.groups.map((g) => [g.content, g]));
    this.nodes = new Map();
    live.nodes.forEach((node, i) => {
      const g = group.get(node.content);
      const old = resized ? undefined : before.get(node.id);
      // Sunflower order: evenly spread, and the same every time.
      const angle = i * 2.39996;
      const far = g.r * Math.sqrt((i % 37) / 37) * 0.8;
      this.nodes.set(node.id, {
        ...node,
        group: g,
        degree: 0,
        x: old?.x ?? g.x + Math.cos(angle) * far,
        y: old?.y ?? g.y + Math.sin(angle) * far,
        dx: 0,
        dy: 0,
      });
      if (!old) this.heat = 1;
    });
    if (before.size !== this.nodes.size) this.heat = 1;
    const list = [...this.nodes.values()];
    this.links = live.links.map(([a, b, carried]) => ({ a: list[a], b: list[b], carried }));
    for (const { a, b } of this.links) {
      a.degree++;
      b.degree++;
    }
    this.canvas.setAttribute("aria-label", `${live.viewers} viewers, ${live.links.length} links`);
    const still = resized || matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still) while (this.move());
    else if (!this.running) this.run();
    this.paint();
  }

  /** Fit the canvas to its box; whether that changed anything. */
  size() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = devicePixelRatio || 1;
    const resized = width !== this.width || height !== this.height || ratio !== this.ratio;
    if (resized) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.heat = 1;
    }
    Object.assign(this, { width, height, ratio });
    return resized;
  }

  /** Room for each content by its number of viewers: columns whose heights share the canvas. */
  place() {
    const total = this.groups.reduce((n, g) => n + g.n + 2, 0) || 1;
    const columns = Math.max(1, Math.min(3, Math.round(this.width / 230), this.groups.length));
    const loads = Array.from({ length: columns }, () => ({ n: 0, groups: [] }));
    for (const g of this.groups) {
      const least = loads.reduce((a, b) => (b.n < a.n ? b : a));
      least.n += g.n + 2;
      least.groups.push(g);
    }
    let x = 0;
    for (const { n, groups } of loads) {
      const w = Math.max(0.22, n / total) * this.width;
      let y = 0;
      for (const g of groups) {
        const h = ((g.n + 4) / (n + 2 * groups.length)) * this.height;
        const r = Math.max(14, Math.min(w, h - 26) / 2 - 8);
        const middle = y + (h - 18) / 2;
        // The name stands right under its dots.
        Object.assign(g, { x: x + w / 2, y: middle, r, w, bottom: Math.min(y + h - 7, middle + (g.n > 1 ? r : 4) + 26) });
        y += h;
      }
      x += w;
    }
    const over = x / this.width;
    if (over > 1) for (const g of this.groups) Object.assign(g, { x: g.x / over, w: g.w / over, r: Math.min(g.r, g.w / over / 2 - 4) });
  }

  run() {
    this.running = true;
    const frame = () => {
      const more = this.move();
      this.paint();
      if (more && !document.hidden) requestAnimationFrame(frame);
      else this.running = false;
    };
    requestAnimationFrame(frame);
  }

  /** One step towards rest; false when there. */
  move() {
    if (this.heat < 0.02) return false;
    this.heat *= 0.97;
    const list = [...this.nodes.values()];
    for (let i = 0; i < list.length; i++) {
      const a = list[i];
      for (let j = i + 1; j < list.length; j++) {
        const b = list[j];
        if (a.group !== b.group) continue;
        const x = a.x - b.x || (i - j) * 0.01;
        const y = a.y - b.y || 0.01;
        const room = (a.group.r * 1.55) / Math.sqrt(a.group.n + 1);
        const d2 = x * x + y * y;
        if (d2 > room * room * 6) continue;
        const push = (room * room) / (d2 + 4) * 0.09;
        a.dx += x * push;
        a.dy += y * push;
        b.dx -= x * push;
        b.dy -= y * push;
      }
      a.dx += (a.group.x - a.x) * 0.035;
      a.dy += (a.group.y - a.y) * 0.035;
    }
    for (const { a, b } of this.links) {
      const pull = 0.004;
      a.dx += (b.x - a.x) * pull;
      a.dy += (b.y - a.y) * pull;
      b.dx += (a.x - b.x) * pull;
      b.dy += (a.y - b.y) * pull;
    }
    for (const n of list) {
      const limit = 6;
      n.x += Math.max(-limit, Math.min(limit, n.dx)) * this.heat;
      n.y += Math.max(-limit, Math.min(limit, n.dy)) * this.heat;
      n.dx *= 0.5;
      n.dy *= 0.5;
      const x = n.x - n.group.x;
      const y = n.y - n.group.y;
      const far = Math.hypot(x, y);
      if (far > n.group.r) {
        n.x = n.group.x + (x / far) * n.group.r;
        n.y = n.group.y + (y / far) * n.group.r;
      }
    }
    return true;
  }

  paint() {
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const [peers, origin, line, soft, faint, card] = ["--peers", "--origin", "--line", "--soft", "--faint", "--card"].map(colour);
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    pen.strokeStyle = soft;
    for (const { a, b, carried } of this.links) {
      pen.globalAlpha = Math.min(0.5, 0.13 + Math.log10(1 + carried / 1e5) * 0.12);
      pen.lineWidth = Math.min(3, 0.7 + Math.log10(1 + carried / 1e6));
      pen.beginPath();
      pen.moveTo(a.x, a.y);
      pen.lineTo(b.x, b.y);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    for (const n of this.nodes.values()) {
      const r = this.radius(n);
      const all = n.from_peers + n.from_origin;
      pen.fillStyle = card;
      pen.beginPath();
      pen.arc(n.x, n.y, r + 3, 0, 7);
      pen.fill();
      pen.lineWidth = 2;
      pen.strokeStyle = line;
      pen.beginPath();
      pen.arc(n.x, n.y, r + 2, 0, 7);
      pen.stroke();
      pen.fillStyle = pen.strokeStyle = n.from_peers * 2 >= all && all ? peers : origin;
      pen.beginPath();
      pen.arc(n.x, n.y, r + 2, -Math.PI / 2, -Math.PI / 2 + n.held * 2 * Math.PI);
      pen.stroke();
      pen.beginPath();
      pen.arc(n.x, n.y, r - 1, 0, 7);
      pen.fill();
    }
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.fillStyle = faint;
    for (const g of this.groups) {
      pen.fillText(shorten(pen, `${g.content.split("/").pop()} · ${g.n}`, g.w - 10), g.x, g.bottom);
    }
    if (!this.nodes.size) pen.fillText("Nobody is watching right now.", this.width / 2, this.height / 2);
  }

  radius(n) {
    return Math.max(2.5, Math.min(7, (n.group.r * 0.5) / Math.sqrt(n.group.n + 1)));
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    let near = null;
    let best = 18;
    for (const n of this.nodes.values()) {
      const far = Math.hypot(n.x - x, n.y - y);
      if (far < best) [near, best] = [n, far];
    }
    if (!near) return tip.hide();
    tip.show(event, [
      near.content,
      `holds ${percent(near.held, 0)}, ${near.degree} link${near.degree === 1 ? "" : "s"}`,
      `${bytes(near.from_peers)} from peers, ${bytes(near.from_origin)} from origin`,
      `${bytes(near.uploaded)} sent to others`,
    ]);
  }
}

function shorten(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let cut = text.length;
  while (cut > 4 && pen.measureText(`…${text.slice(text.length - cut)}`).width > width) cut--;
  return `…${text.slice(text.length - cut)}`;
}
