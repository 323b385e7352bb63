//! Tables as kubectl prints them: upper-case heads, columns parted by spaces, nothing drawn.

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; what is missing is empty.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell.into())).collect());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text, each line ended, no spaces at line ends.
    pub fn render(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        lines()
            .map(|line| {
                let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  "));
                format!("{}\n", cells.collect::<String>().trim_end())
            })
            .collect()
    }
}

/// A message of several lines would break the table.
fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut table = Table::new(["NAME", "PHASE", "MESSAGE"]);
        table.row(["web", "Ready", ""]);
        table.row(["a-longer-name", "Provisioning", "waiting for\n  the datastore"]);
        insta::assert_snapshot!(table.render(), @r###"
        NAME           PHASE         MESSAGE
        web            Ready
        a-longer-name  Provisioning  waiting for the datastore
        "###);
    }
}
