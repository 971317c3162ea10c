"use strict";

/* The rules of the board, and the winner's policy as reporting/board.py packed it. Cells are numbered row by row
   from 0; a position is an array of 0 (empty), 1 (X), 2 (O); the side to move follows from the number of marks. */

class Rules {
  constructor({ rows, columns, k, lines }) {
    Object.assign(this, { rows, columns, k, lines, cells: rows * columns });
  }

  empty() {
    return new Array(this.cells).fill(0);
  }

  toMove(position) {
    return 1 + (position.filter(Boolean).length % 2);
  }

  /* The line that somebody has completed, or null. */
  wonLine(position) {
    return this.lines.find((line) => position[line[0]] && line.every((cell) => position[cell] === position[line[0]])) || null;
  }

  /* 1 or 2: that side has won; 0: a draw; null: the game goes on. */
  outcome(position) {
    const line = this.wonLine(position);
    if (line) return position[line[0]];
    return position.includes(0) ? null : 0;
  }

  play(position, cell) {
    const after = position.slice();
    after[cell] = this.toMove(position);
    return after;
  }

  legalMoves(position) {
    return this.outcome(position) === null ? [...position.keys()].filter((cell) => !position[cell]) : [];
  }
}

class Policy {
  static async load(packed) {
    const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Policy(packed, new Uint8Array(await new Response(stream).arrayBuffer()));
  }

  constructor({ count, symmetries, unit }, bytes) {
    this.symmetries = symmetries;
    this.unit = unit;
    this.codes = new Int32Array(count);
    let at = 0;
    for (let n = 0, code = 0; n < count; n++) {
      let shift = 0, byte;
      do {
        byte = bytes[at++];
        code += (byte & 127) << shift;
        shift += 7;
      } while (byte & 128);
      this.codes[n] = code;
    }
    this.low = bytes.subarray(at, at + count);
    this.high = bytes.subarray(at + count, at + 2 * count);
    this.levels = new Int8Array(bytes.buffer, at + 2 * count, count);
  }

  /* The entry of a position's orbit, and the symmetry (the first of equals) that leads to its smallest position. */
  find(position) {
    let smallest = Infinity, symmetry = null;
    for (const image of this.symmetries) {
      const code = position.reduce((sum, mark, cell) => sum + mark * 3 ** image[cell], 0);
      if (code < smallest) [smallest, symmetry] = [code, image];
    }
    let from = 0, to = this.codes.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.codes[middle] < smallest) from = middle + 1;
      else to = middle;
    }
    if (this.codes[from] !== smallest) throw new Error(`the policy was never meant to be in ${position}`);
    return { entry: from, symmetry };
  }

  /* The policy's moves in a position in which it is to move, equally good in its eyes. */
  moves(position) {
    const { entry, symmetry } = this.find(position);
    const mask = this.low[entry] | (this.high[entry] << 8);
    return [...position.keys()].filter((cell) => (mask >> symmetry[cell]) & 1);
  }

  /* What the policy expects of a position in which it is to move: near 1 a win, 0 a draw, -1 a loss. */
  value(position) {
    return this.levels[this.find(position).entry] * this.unit;
  }
}
