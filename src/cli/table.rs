//! Lists as people read them: aligned columns, times to the second.

use std::io::{self, Write};

use time::OffsetDateTime;
use time::macros::format_description;

/// Writes columns two spaces apart. Nothing follows the last column.
pub(super) fn write_table<const N: usize>(
    out: &mut impl Write,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = header.map(|title| title.chars().count());
    for (column, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        widths[column] = widths[column].max(cell.chars().count());
    }
    write_row(out, header, widths)?;
    rows.iter().try_for_each(|row| write_row(out, row.each_ref().map(String::as_str), widths))
}

fn write_row<const N: usize>(out: &mut impl Write, cells: [&str; N], widths: [usize; N]) -> io::Result<()> {
    let padded: Vec<String> =
        cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    writeln!(out, "{}", padded.join("  ").trim_end())
}

pub(super) fn second(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    // Every part of the format exists for every time, so this cannot fail.
    time.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

pub(super) fn second_or(time: Option<OffsetDateTime>, absent: &str) -> String {
    time.map_or_else(|| absent.to_owned(), second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ann", "writer"], ["Жанна", ""]].map(|row| row.map(str::to_owned));
        let mut out = Vec::new();
        write_table(&mut out, ["NAME", "ROLES"], &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME   ROLES\nann    writer\nЖанна\n");
    }

    #[test]
    fn times_are_shown_in_utc_to_the_second() {
        let time = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        assert_eq!(second(time), "2023-11-14T22:13:20Z");
        assert_eq!(second_or(None, "never"), "never");
    }
}
