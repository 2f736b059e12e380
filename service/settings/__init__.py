"""The settings of the service, from the environment and then `.env`."""

from service.settings.load import (
    FOR_COMPOSE,
    KNOWN,
    PROXY_VARIABLES,
    SettingsError,
    check_env_file,
    load_settings,
    read_variables,
)
from service.settings.settings import GROQ_URL, OPENAI_URL, Settings

__all__ = [
    "FOR_COMPOSE",
    "GROQ_URL",
    "KNOWN",
    "OPENAI_URL",
    "PROXY_VARIABLES",
    "Settings",
    "SettingsError",
    "check_env_file",
    "load_settings",
    "read_variables",
]
