// The metric between the sounds of the grid: kriging of its matrix logarithm, as pnpkit.figures.interactive.interpolate.
(P => {
  /** f of a symmetric 3 × 3 matrix, through its eigenvalues (Jacobi's rotations). */
  P.ofMatrix = (A, f) => {
    const a = A.map(row => [...row]), v = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    for (let sweep = 0; sweep < 12; sweep++) {
      for (const [p, q] of [[0, 1], [0, 2], [1, 2]]) {
        if (Math.abs(a[p][q]) < 1e-300) continue;
        const angle = 0.5 * Math.atan2(2 * a[p][q], a[q][q] - a[p][p]), c = Math.cos(angle), s = Math.sin(angle);
        for (const m of [a, v]) for (const row of m) [row[p], row[q]] = [c * row[p] - s * row[q], s * row[p] + c * row[q]];
        [a[p], a[q]] = [a[p].map((x, k) => c * x - s * a[q][k]), a[p].map((x, k) => s * x + c * a[q][k])];
      }
    }
    const g = [0, 1, 2].map(k => f(a[k][k]));
    return v.map(r => v.map(t => r[0] * g[0] * t[0] + r[1] * g[1] * t[1] + r[2] * g[2] * t[2]));
  };
  const full = m => [[m[0], m[1], m[2]], [m[1], m[3], m[4]], [m[2], m[4], m[5]]];
  P.quadratic = (M, d) => 0.5 * d.reduce((sum, u, i) => sum + d.reduce((t, w, j) => t + u * M[i][j] * w, 0), 0);
  P.pLoss = d => d.reduce((sum, u) => sum + u * u, 0) / d.length;
  P.Metrics = class {
    constructor(theta, M, kernel, neighbours) {
      Object.assign(this, { theta, M, kernel, neighbours, n: theta.length / 3, logs: new Map() });
      this.places = Array.from({ length: this.n }, (_, i) => this.embed(this.point(i)));
    }
    point(i) { return P.triple(this.theta, i); }
    raw(i) { return full(this.M.subarray(6 * i, 6 * i + 6)); }
    /** Where two sounds have equal metrics: f_m/γ, the carrier within a band of Φ, f_m within an octave; slow trends. */
    embed(theta) {
      const [c, m, g] = theta.map(Math.log2), [a, b, r, s] = this.kernel, turn = 2 * Math.PI;
      return [a * c, b * m, m - g, r * Math.cos(12 * turn * c), r * Math.sin(12 * turn * c), s * Math.cos(turn * m), s * Math.sin(turn * m)];
    }
    /** Matrix logarithm of sound i's metric in natural logarithms of θ. */
    log(i) {
      const t = this.point(i);
      if (!this.logs.has(i)) this.logs.set(i, P.ofMatrix(this.raw(i).map((row, p) => row.map((x, q) => x * t[p] * t[q])), Math.log));
      return this.logs.get(i);
    }
    nearest(theta, k) {
      const z = this.embed(theta), distance = this.places.map(p => p.reduce((sum, u, j) => sum + (u - z[j]) ** 2, 0));
      return Array.from(distance.keys()).sort((i, j) => distance[i] - distance[j]).slice(0, k);
    }
    /** { M: raw units, exact: whether θ is a sound of the grid }. */
    at(theta) {
      const ids = this.nearest(theta, this.neighbours), z = this.embed(theta);
      const same = ids.find(i => this.point(i).every((v, j) => Math.abs(v / theta[j] - 1) < 1e-7));
      if (same !== undefined) return { M: this.raw(same), exact: true, id: same };
      const k = (p, q) => { const d = Math.sqrt(3 * p.reduce((sum, u, j) => sum + (u - q[j]) ** 2, 0)); return (1 + d) * Math.exp(-d); };
      // ordinary kriging: weights that sum to one, by Gaussian elimination of a positive definite matrix
      const rows = ids.map((i, r) => [...ids.map((j, c) => k(this.places[i], this.places[j]) + (r === c) * 1e-9), k(this.places[i], z), 1]);
      const n = rows.length;
      rows.forEach((pivot, r) => rows.forEach((row, q) => {
        const f = row[r] / pivot[r];
        if (q !== r) for (let c = r; c < n + 2; c++) row[c] -= f * pivot[c];
      }));
      const sum = c => rows.reduce((s, row, r) => s + row[c] / row[r], 0), rest = (1 - sum(n)) / sum(n + 1);
      const weights = rows.map((row, r) => (row[n] + rest * row[n + 1]) / row[r]);
      const mean = [0, 1, 2].map(p => [0, 1, 2].map(q => ids.reduce((s, i, r) => s + weights[r] * this.log(i)[p][q], 0)));
      return { M: P.ofMatrix(mean, Math.exp).map((row, p) => row.map((x, q) => x / theta[p] / theta[q])), exact: false };
    }
  };
})(window.PNP);
