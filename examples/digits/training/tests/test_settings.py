import pytest

from settings import SettingError, Settings


def test_defaults_are_complete():
    assert Settings.from_environment({}).epochs == 15


@pytest.mark.parametrize(
    ("name", "text"),
    [("EPOCHS", "abc"), ("EPOCHS", "0"), ("EPOCHS", "1.5"), ("LEARNING_RATE", "nan"), ("LEARNING_RATE", "0"), ("SEED", "-1")],
)
def test_a_setting_that_cannot_be_used_is_named(name, text):
    with pytest.raises(SettingError, match=name):
        Settings.from_environment({name: text})
