"""What a result says of the machine that it is of."""

from loadtests.environment import processor_name

CORE = "processor\t: {}\nvendor_id\t: AuthenticAMD\ncpu family\t: {}\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\n"


def test_processors_of_one_name_and_two_generations_are_two() -> None:
    older, newer = ("".join(CORE.format(core, family) for core in range(2)) for family in (25, 26))
    assert processor_name(older) == "2 x AMD EPYC (family 25, model 2)"
    assert processor_name(newer) == "2 x AMD EPYC (family 26, model 2)"


def test_where_linux_tells_less_the_name_is_shorter() -> None:
    assert processor_name("processor\t: 0\nmodel name\t: ARMv8\n") == "1 x ARMv8"
    assert processor_name("processor\t: 0\nBogoMIPS\t: 50.00\n") == ""
