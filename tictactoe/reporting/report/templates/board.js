/* The board to play on: mouse, keyboard and screen reader. */

class Play {
  constructor(rules, policy, root) {
    Object.assign(this, { rules, policy, focused: 0 });
    this.grid = root.querySelector(".board");
    this.status = root.querySelector("#status");
    this.seats = [...root.querySelectorAll("[data-seat]")];
    for (const button of this.seats) button.addEventListener("click", () => this.start(Number(button.dataset.seat)));
    root.querySelector("#again").addEventListener("click", () => this.start(this.human));
    this.values = root.querySelector("#values");
    this.values.addEventListener("change", () => this.draw());
    this.build();
    this.start(1);
  }

  build() {
    const { rows, columns } = this.rules;
    this.grid.style.setProperty("--columns", columns);
    this.grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    this.buttons = [];
    for (let row = 0; row < rows; row++) {
      const line = this.grid.appendChild(document.createElement("div"));
      line.setAttribute("role", "row");
      for (let column = 0; column < columns; column++) {
        const cell = line.appendChild(document.createElement("div"));
        cell.setAttribute("role", "gridcell");
        const button = cell.appendChild(document.createElement("button"));
        button.type = "button";
        button.addEventListener("click", () => this.humanMoves(row * columns + column));
        button.addEventListener("focus", () => this.setFocused(row * columns + column));
        this.buttons.push(button);
      }
    }
    this.grid.addEventListener("keydown", (event) => this.walk(event));
  }

  /* A new game with the human as 1 (X) or 2 (O). */
  start(human) {
    this.human = human;
    this.position = this.rules.empty();
    this.last = null;
    const opening = this.rules.toMove(this.position) === human ? "" : this.policyMoves();
    this.announce(`New game: you play ${NAME[human]}.${opening}`);
    this.draw();
  }

  humanMoves(cell) {
    if (this.rules.outcome(this.position) !== null) return this.announce("The game is over.");
    if (this.position[cell]) return this.announce(`${this.place(cell)} is taken.`);
    this.position = this.rules.play(this.position, cell);
    this.last = cell;
    const reply = this.rules.outcome(this.position) === null ? this.policyMoves() : "";
    this.announce(`You: ${this.place(cell)}.${reply}`);
    this.draw();
  }

  /* Play one of the policy's moves. Returns as text what was played. */
  policyMoves() {
    const moves = this.policy.moves(this.position);
    this.last = moves[Math.floor(Math.random() * moves.length)];
    this.position = this.rules.play(this.position, this.last);
    return ` The policy: ${this.place(this.last)}.`;
  }

  /* What a move is worth to the human, as the learner sees it: minus what the policy expects after it. */
  moveValue(cell) {
    const after = this.rules.play(this.position, cell);
    const outcome = this.rules.outcome(after);
    if (outcome !== null) return outcome === 0 ? 0 : 1;
    return 0 - this.policy.value(after);
  }

  place(cell) {
    return `row ${Math.floor(cell / this.rules.columns) + 1}, column ${(cell % this.rules.columns) + 1}`;
  }

  result() {
    const outcome = this.rules.outcome(this.position);
    if (outcome === null) return "Your move.";
    return outcome === 0 ? "A draw." : outcome === this.human ? "You win." : "The policy wins.";
  }

  announce(text) {
    this.status.textContent = `${text} ${this.result()}`;
  }

  draw() {
    const legal = this.rules.legalMoves(this.position), line = this.rules.wonLine(this.position) || [];
    for (const button of this.seats) button.setAttribute("aria-pressed", Number(button.dataset.seat) === this.human);
    this.buttons.forEach((button, cell) => {
      const mark = this.position[cell], open = legal.includes(cell);
      const value = open && this.values.checked ? this.moveValue(cell) : null;
      button.className = ["", "x", "o"][mark];
      button.classList.toggle("won", line.includes(cell));
      button.classList.toggle("last", cell === this.last);
      button.classList.toggle("good", value > 0.05);
      button.classList.toggle("bad", value < -0.05);
      button.textContent = mark ? NAME[mark] : "";
      if (value !== null) {
        const number = button.appendChild(document.createElement("span"));
        number.className = "value";
        number.textContent = signed(value);
      }
      const content = mark ? NAME[mark] : value === null ? "empty" : `empty, value ${signed(value)}`;
      button.setAttribute("aria-label", `${this.place(cell)}: ${content}`);
      button.setAttribute("aria-disabled", !open);
      button.tabIndex = cell === this.focused ? 0 : -1;
    });
  }

  setFocused(cell) {
    this.buttons[this.focused].tabIndex = -1;
    this.focused = cell;
    this.buttons[cell].tabIndex = 0;
  }

  /* Arrows, Home and End move among the cells. Enter and Space are the buttons' own. */
  walk(event) {
    const { rows, columns } = this.rules;
    let row = Math.floor(this.focused / columns), column = this.focused % columns;
    if (event.key === "ArrowUp") row = Math.max(row - 1, 0);
    else if (event.key === "ArrowDown") row = Math.min(row + 1, rows - 1);
    else if (event.key === "ArrowLeft") column = Math.max(column - 1, 0);
    else if (event.key === "ArrowRight") column = Math.min(column + 1, columns - 1);
    else if (event.key === "Home") column = 0;
    else if (event.key === "End") column = columns - 1;
    else return;
    event.preventDefault();
    this.buttons[row * columns + column].focus();
  }
}

const NAME = ["", "X", "O"];

function signed(value) {
  const text = Math.abs(value).toFixed(2);
  return text === "0.00" ? text : (value < 0 ? "−" : "+") + text;
}

async function main() {
  const embedded = JSON.parse(document.getElementById("policy").textContent);
  const root = document.getElementById("play");
  try {
    window.play = new Play(new Rules(embedded), await Policy.load(embedded), root);
    root.dataset.ready = "true";
  } catch (error) {
    root.querySelector("#status").textContent = `The board needs a newer browser (${error.message}).`;
    throw error;
  }
}

main();
