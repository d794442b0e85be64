"""The file that ``guerdon calibrate`` writes: each member's mean and standard deviation, and of what."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from guerdon.aggregation import Calibration
from guerdon.domain.errors import NotServable
from guerdon.domain.strict import Strict


class Measured(Strict):
    """One member's raw scores: their mean and standard deviation (of the population), how many, of which revision."""

    mean: float
    std: float = Field(gt=0)
    responses: int = Field(ge=2)
    revision: str

    def calibration(self) -> Calibration:
        """What rewards are calibrated by."""
        return Calibration(mean=self.mean, std=self.std)


class Data(Strict):
    """What was scored. ``sha256`` is that of the file."""

    name: str
    sha256: str
    rows: int


class CalibrationFile(Strict):
    """Calibrations by member, measured on the same data."""

    format: Literal["guerdon-calibration/1"] = "guerdon-calibration/1"
    data: Data
    members: dict[str, Measured] = Field(min_length=1)


def load_calibration(file: Path) -> CalibrationFile:
    """Raises NotServable that names what is wrong with the file."""
    try:
        return CalibrationFile.model_validate_json(file.read_bytes())
    except OSError as error:
        raise NotServable(f"calibration_file: {file}: {error.strerror or 'cannot be read'}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise NotServable(f"calibration_file: {file.name}: {where + ': ' if where else ''}{first['msg']}") from error
