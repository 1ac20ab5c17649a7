"""What a machine's role in AWS may do, as the region module writes it (its logic is in the module's own tests)."""

import re

from tests.infra.terraform import TREE

ROLES = (TREE / "modules" / "region" / "roles.tf").read_text()
SESSIONS = "Sessions"
"""Its actions know no resource; each opens a channel of the machine itself."""


def statements(text: str) -> dict[str, str]:
    """What is allowed, by each statement's sid."""
    blocks = re.split(
        r'\n  (?:dynamic "statement"|statement) \{\n',
        text.split('resource "aws_iam_role" "machine"', maxsplit=1)[0],
    )[1:]
    return {sid[1]: block for block in blocks if (sid := re.search(r'sid\s+= "(\w+)"', block))}


def allowed(block: str) -> list[str]:
    listed = re.search(r"actions\s+= \[(.*?)\]", block, re.DOTALL)
    assert listed is not None
    return re.findall(r'"([^"]+)"', listed[1])


def test_a_machine_may_do_named_things_to_named_things() -> None:
    made = statements(ROLES)
    assert {"Secrets", "OwnVolume", "OwnMachine", "OwnNames", "Hooks"} <= set(made)
    for sid, block in made.items():
        assert not [action for action in allowed(block) if "*" in action], sid
        if 'resources = ["*"]' in block:
            assert sid == SESSIONS or "condition {" in block, sid


def test_a_machine_changes_no_name_no_volume_and_no_group_but_its_own() -> None:
    made = statements(ROLES)
    assert (
        "ChangeResourceRecordSetsNormalizedRecordNames" in made["OwnNames"] and "UPSERT" in made["OwnNames"]
    )
    assert "aws_ebs_volume.stateful[each.key].arn" in made["OwnVolume"]
    assert "aws:ResourceTag/atoll:machine" in made["OwnMachine"]
    assert "${local.full_name}-${each.key}" in made["Hooks"]
