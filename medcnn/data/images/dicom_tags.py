"""Lists of DICOM elements: what tells stacks apart, what names a person, and where vendors keep b-values."""

from __future__ import annotations

from typing import Final

# Whose presence is told, never their values.
PERSONAL: Final = (
    "PatientName", "PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers", "OtherPatientIDs",
    "OtherPatientNames", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "InstitutionName",
    "InstitutionAddress", "AccessionNumber",
)  # fmt: skip

# What tells stacks of one series apart even where nothing repeats: the standard means them for that.
FIRM: Final = ("StackID", "EchoNumbers", "TemporalPositionIdentifier", "DiffusionBValue", "ReferencedSegmentNumber")
# What tells slices apart only where they would otherwise share a place: these also vary inside one stack.
LOOSE: Final = (
    "EchoTime", "ImageType", "InversionTime", "DiffusionGradientOrientation", "FrameReferenceTime",
    "NominalPercentageOfCardiacPhase", "TriggerTime", "AcquisitionNumber", "FlipAngle", "RepetitionTime",
    "ContrastBolusAgent", "ConvolutionKernel", "AcquisitionTime",
)  # fmt: skip
# Of these only the order may be shown: a time of day is about a person.
MOMENTS: Final = ("AcquisitionTime",)

# b-values and directions that stand in private elements, and what their first line must say.
SIEMENS_CREATOR, SIEMENS_B, SIEMENS_DIRECTION = 0x00190010, 0x0019100C, 0x0019100E
GE_CREATOR, GE_B = 0x00430010, 0x00431039
PHILIPS_CREATOR, PHILIPS_B = 0x20010010, 0x20011003
