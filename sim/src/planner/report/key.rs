//! The legend of the pictures, and the shapes that all pictures share.

/// Hatches and the cross, referenced by every picture.
pub(super) const SHAPES: &str = r##"<svg class="shapes" width="0" height="0" aria-hidden="true" focusable="false">
<defs>
<pattern id="hatch-starting" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-ground" width="6" height="6"/><rect class="hatch-starting" width="2" height="6"/></pattern>
<pattern id="hatch-terminating" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><rect class="hatch-ground" width="4" height="4"/><rect class="hatch-terminating" width="1.5" height="4"/></pattern>
<pattern id="hatch-after" width="9" height="9" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-after" width="1" height="9"/></pattern>
<g id="cross"><path class="cross-edge" d="M-5-5L5 5M5-5L-5 5"/><path class="cross-line" d="M-5-5L5 5M5-5L-5 5"/></g>
</defs>
</svg>
"##;

/// The legend of the lines, for screens too narrow for names at their ends.
pub(super) const LINES: &str = r##"<li class="narrow"><svg width="30" height="12" aria-hidden="true"><path class="desired" d="M0 6H30"/></svg>desired</li>
<li class="narrow"><svg width="30" height="12" aria-hidden="true"><path class="told" d="M0 6H30"/></svg>told</li>
<li class="narrow"><svg width="30" height="12" aria-hidden="true"><path class="seated" d="M0 6H30"/></svg>seated</li>
<li class="narrow"><svg width="30" height="12" aria-hidden="true"><path class="ready" d="M-2 14V4H32V14"/></svg>ready</li>
<li class="narrow"><svg width="30" height="12" aria-hidden="true"><path class="existing" d="M-2 14V4H32V14"/></svg>existing</li>
"##;

pub(super) const LANES: &str = r##"<li><svg width="30" height="12" aria-hidden="true"><rect class="starting" width="30" height="12"/></svg>pod starting</li>
<li><svg width="30" height="12" aria-hidden="true"><rect class="up" width="30" height="12"/></svg>pod ready</li>
<li><svg width="30" height="12" aria-hidden="true"><rect class="up" width="30" height="12"/><rect class="seat" y="2" width="30" height="8"/></svg>session, with its visitor’s number</li>
<li><svg width="30" height="12" aria-hidden="true"><rect class="terminating" width="30" height="12"/></svg>pod terminating</li>
"##;

pub(super) const BROKE: &str = r##"<li><svg width="30" height="12" aria-hidden="true"><rect class="up" width="20" height="12"/><line class="broke" x1="20" x2="20" y1="0" y2="12"/></svg>pod crashed or lost</li>
"##;

pub(super) const MAP: &str = r##"<li><svg class="map" width="30" height="12" aria-hidden="true"><rect class="exists" width="30" height="12"/></svg>pods exist, without a session</li>
<li><svg class="map" width="120" height="12" aria-hidden="true"><rect class="q1" width="30" height="12"/><rect class="q2" x="30" width="30" height="12"/><rect class="q3" x="60" width="30" height="12"/><rect class="q4" x="90" width="30" height="12"/></svg>a quarter of them taken, half, three quarters, all</li>
"##;

pub(super) const KILLED: &str = r##"<li><svg width="30" height="12" aria-hidden="true"><use class="cross" href="#cross" x="15" y="6"/></svg>session killed</li>
"##;
