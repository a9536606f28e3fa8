// Sliders move the films and the texts of their name; a link to a closed part opens it.
'use strict';
function show(name, i) {
  document.querySelectorAll('[data-film="' + name + '"]').forEach(function (e) { e.style.setProperty('--i', i); });
  document.querySelectorAll('[data-follow="' + name + '"]').forEach(function (e) {
    e.textContent = e.dataset.values.split('|')[i];
  });
  document.querySelectorAll('[data-at="' + name + '"]').forEach(function (e) { e.setAttribute('x1', x(e, i)); e.setAttribute('x2', x(e, i)); });
}
function x(e, i) { return +e.dataset.left + (+e.dataset.width) * i / Math.max(1, +e.dataset.n - 1); }
document.querySelectorAll('input[data-slider]').forEach(function (s) {
  s.addEventListener('input', function () { show(s.dataset.slider, +s.value); });
});
function reveal() {
  var e = location.hash && document.getElementById(location.hash.slice(1));
  for (var p = e; p; p = p.parentElement) if (p.tagName === 'DETAILS') p.open = true;
  if (e) e.scrollIntoView();
}
addEventListener('hashchange', reveal);
reveal();
