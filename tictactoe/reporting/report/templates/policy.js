"use strict";

/* The rules of the board, and the winner's policy as report/board.py embeds it. Cells are numbered row by row from 0.
   A position is an array of 0 (empty), 1 (X) and 2 (O). The number of marks says which side is to move. */

class Rules {
  constructor({ rows, columns, lines }) {
    Object.assign(this, { rows, columns, lines, cells: rows * columns });
  }

  empty() {
    return new Array(this.cells).fill(0);
  }

  toMove(position) {
    return 1 + (position.filter(Boolean).length % 2);
  }

  /* The line that a side has completed, or null. */
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
  /* The policy of an embedded object. Throws where the browser cannot decompress. */
  static async load({ data, symmetries }) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Policy(symmetries, await new Response(stream).json());
  }

  constructor(symmetries, { codes, moves, values }) {
    Object.assign(this, { symmetries, masks: moves, values });
    let code = 0;
    this.codes = codes.map((step) => (code += step));
  }

  /* The entry of a position's orbit, and the symmetry (the first of equals) that leads to its smallest position. */
  lookUp(position) {
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

  /* The policy's moves in a position in which it is to move. To the policy they are equally good. */
  moves(position) {
    const { entry, symmetry } = this.lookUp(position);
    return [...position.keys()].filter((cell) => (this.masks[entry] >> symmetry[cell]) & 1);
  }

  /* What the policy expects of a position in which it is to move: near 1 a win, 0 a draw, -1 a loss. */
  value(position) {
    return this.values[this.lookUp(position).entry];
  }
}
