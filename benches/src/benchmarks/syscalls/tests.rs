//! Summary of `strace -c`.

use super::SyscallCounts;

const SUMMARY: &str = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 95.00    0.190000          19     10000           sendto
  5.00    0.010000          10      1000       100 epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.200000          18     11000       100 total
";

#[test]
fn calls_are_summed_without_the_sum() {
    let calls = SyscallCounts::read(SUMMARY, 10_000);
    assert!((calls.per_delivery() - 1.1).abs() < 1e-9, "{}", calls.per_delivery());
    assert_eq!(calls.text(), "`sendto` 1.000, `epoll_wait` 0.100, of 10,000 deliveries");
}
