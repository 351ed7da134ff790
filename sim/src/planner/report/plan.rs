//! A plan as a page: the results of the configured settings and their neighbours, and the pool over time with the
//! first seed.

use super::scale::Scales;
use super::words::Escaped;
use super::{anchor, page, section};
use crate::planner::plan::{COLUMNS, Cell, Plan, cells, legend};

/// Returns one HTML file without scripts and external resources.
#[must_use]
pub fn html(plan: &Plan) -> String {
    let title = format!("Pool {}: a plan", plan.pool);
    let records = std::slice::from_ref(&plan.record);
    let mut main = format!(
        "<header>\n<h1>Pool {}</h1>\n<p class=\"story\">{}</p>\n",
        Escaped(&plan.pool),
        Escaped(plan.story.trim())
    );
    main += &neighbours(plan);
    for line in legend(plan) {
        main += &format!("<p class=\"note\">{}</p>\n", Escaped(&line));
    }
    main += "</header>\n";
    main += &section(&plan.record, 0, &Scales::of(records), "h2");
    page(&title, &main)
}

/// The configured settings first, then their neighbours.
fn neighbours(plan: &Plan) -> String {
    let caption = format!("Pool {}: the configured settings and their neighbours", plan.pool);
    let caption = Escaped(&caption);
    let mut out = format!(
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n\
         <table class=\"comparison plan\">\n<caption>{caption}</caption>\n<thead>\n\
         <tr><th scope=\"col\" rowspan=\"2\">Setting</th>"
    );
    for columns in COLUMNS.chunk_by(|(a, _), (b, _)| a == b) {
        let group = columns.first().map_or("", |(group, _)| group);
        out += &format!("<th scope=\"colgroup\" colspan=\"{}\">{}</th>", columns.len(), Escaped(group));
    }
    out += "</tr>\n<tr>";
    for (_, column) in COLUMNS {
        out += &format!("<th scope=\"col\">{}</th>", Escaped(column));
    }
    out += "</tr>\n</thead>\n<tbody>\n";
    for (number, row) in plan.rows.iter().enumerate() {
        let name = Escaped(&row.name);
        let name = if number == 0 { format!("<a href=\"#{}\">{name}</a>", anchor(0)) } else { name.to_string() };
        out += &format!("<tr><th scope=\"row\">{name}</th>");
        cells(plan, row).iter().for_each(|one| out += &cell(one));
        out += "</tr>\n";
    }
    out + "</tbody>\n</table>\n</div>\n"
}

fn cell(cell: &Cell) -> String {
    let noise = if cell.is_noise { "<span class=\"quiet\">~</span>" } else { "" };
    let range = cell
        .range
        .as_deref()
        .map_or(String::new(), |range| format!("<br/><span class=\"quiet range\">{}</span>", Escaped(range)));
    format!("<td>{noise}{}{range}</td>", Escaped(&cell.median))
}
