#!/usr/bin/env bats
# Power cuts, replayed: a short run of what `make powercut` does at length. What was acknowledged
# survives on ext4, XFS and btrfs, and one planted fault shows that a broken promise would be noticed.

load ../cli/helper

powercut() {
	run "$BATS_TEST_DIRNAME/powercut/powercut.py" --states 12 --keep "$BATS_TEST_TMPDIR" "$@"
	[ "$status" -ne 77 ] || skip "$output"
	echo "$output"
	[ "$status" -eq 0 ]
}

@test "what was acknowledged survives a power cut on ext4, and a missing fsync is noticed" {
	powercut --fs ext4 --plants 1
	[[ $output == *'12 states'*'lost 0, half-visible 0, double 0, undone 0, early 0, stuck 0'* ]]
	[[ $output == *'1 of 1 self-tests passed'* ]]
}

@test "what was acknowledged survives a power cut on XFS, and what runs too early is noticed" {
	powercut --fs xfs --first-plant 6 --plants 2
	[[ $output == *'12 states'*'lost 0, half-visible 0, double 0, undone 0, early 0, stuck 0'* ]]
	[[ $output == *'2 of 2 self-tests passed'* ]]
}

@test "what was acknowledged survives a power cut on btrfs, also beside others who sync the same directory" {
	powercut --fs btrfs --first-plant 16 --plants 1
	[[ $output == *'12 states'*'lost 0, half-visible 0, double 0, undone 0, early 0, stuck 0'* ]]
	[[ $output == *'1 of 1 self-tests passed'* ]]
}
