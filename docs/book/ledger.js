"use strict";
// The filter of the ledger's page (its heading has the id ledger, as has the glossary's): words that a row has to hold, and a menu for each column with few values.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("table#claims");
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const words = document.getElementById("claims-words");
  const count = document.getElementById("claims-count");
  const menus = new Map();

  function filter() {
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = asked.every((word) => text.includes(word)) &&
        [...menus].every(([column, menu]) => !menu.value || row.cells[column].textContent === menu.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} claims`;
  }

  heads.forEach((head, column) => {
    const values = [...new Set(rows.map((row) => row.cells[column].textContent))].sort();
    if (values.length < 2 || values.length > 12) return;
    const label = document.createElement("label");
    const menu = document.createElement("select");
    menu.name = head;
    menu.append(new Option("all", ""), ...values.filter(Boolean).map((value) => new Option(value)));
    menu.addEventListener("change", filter);
    label.append(`${head}: `, menu);
    document.getElementById("claims-menus").append(label);
    menus.set(column, menu);
  });
  words.addEventListener("input", filter);
  filter();
});
