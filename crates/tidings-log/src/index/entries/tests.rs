use super::*;

impl EntryTable {
    /// Number of entries that fit without an allocation, with the kept ones.
    pub(in crate::index) fn room(&self) -> usize {
        self.blocks.values().map(|block| block.slots.capacity()).sum()
    }
}
