"""Values that the standard defines: a text is one of these, or it may be anything, a name too."""

from __future__ import annotations

from typing import Final


def _codes(words: str) -> frozenset[str]:
    return frozenset(words.split())


# PS3.3 C.7.3.1.1.1.
MODALITY: Final = _codes(
    "AU BI BMD CFM CR CT DG DMS DX ECG EM EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LS MA MG MR NM OAM OCT "
    "OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSEGANN RTSTRUCT "
    "RWV SEG SM SMR SR SRF STAIN TG US VA XA XC"
)
# PS3.16 annex L, the body parts that images of the whole body are named by.
BODY_PART: Final = _codes(
    "ABDOMEN ABDOMENPELVIS ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST CALCANEUS CAROTID CEREBELLUM CERVIX CHEST "
    "CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE ELBOW ESOPHAGUS EXTREMITY "
    "EYE FACE FEMUR FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS IAC ILEUM JAW KIDNEY KNEE LEG "
    "LIVER LSPINE LSSPINE LUNG MANDIBLE MAXILLA MEDIASTINUM NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE "
    "ORBIT OVARY PANCREAS PATELLA PELVIS PELVISLOWEXTREMT PENIS PHARYNX PITUITARY PROSTATE RECTUM RIB SCALP SCAPULA "
    "SELLA SHOULDER SIJOINT SINUS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH THUMB THYMUS THYROID TIBIA "
    "TIBIAFIBULA TLSPINE TMJ TOE TONGUE TRACHEA TSPINE ULNA UTERUS WHOLEBODY WRIST ZYGOMA"
)
# PS3.3 C.7.6.1.1.2 and C.8, and what Siemens, GE and Philips add about the kind of a reconstruction.
IMAGE_TYPE: Final = _codes(
    "ORIGINAL DERIVED PRIMARY SECONDARY MIXED AXIAL LOCALIZER HELIX SEQUENCE CINE VOLUME REFORMATTED MPR REFORMAT "
    "MIP MINIP PROJECTION IMAGE NONE OTHER M P R I M_SE M_FFE M_IR P_SE P_FFE R_FFE I_FFE MAGNITUDE PHASE REAL "
    "IMAGINARY NORM ND DIS2D DIS3D DIFFUSION ADC FA TRACE TRACEW EXP B0 TENSOR PERFUSION SUBTRACTION SUB ADDITION "
    "AVERAGE MEAN WATER FAT IN_PHASE OUT_PHASE IN_PHASE_W OUT_PHASE_W CSA MOSAIC FILTERED FM4 FMRI TTEST T1 T2 T2_STAR "
    "PROTON_DENSITY FLOW_ENCODED VELOCITY ANGIO TIME_OF_FLIGHT TOF STATIC DYNAMIC GATED WHOLE_BODY TOMO RECON EMISSION "
    "TRANSMISSION STRESS REST ATTENUATION CT_SOM5 SINGLE_PLANE BIPLANE REPROJECTION MULTIPLANAR"
)
MAKERS: Final = {
    "siemens": "Siemens", "ge medical": "GE", "ge healthcare": "GE", "general electric": "GE", "philips": "Philips",
    "toshiba": "Toshiba", "canon": "Canon", "hitachi": "Hitachi", "fujifilm": "Fujifilm", "fuji": "Fujifilm",
    "shimadzu": "Shimadzu", "samsung": "Samsung", "hologic": "Hologic", "carestream": "Carestream", "agfa": "Agfa",
    "kodak": "Kodak", "konica": "Konica Minolta", "uih": "UIH", "united imaging": "UIH", "neusoft": "Neusoft",
    "mindray": "Mindray", "bruker": "Bruker", "esaote": "Esaote", "varian": "Varian", "elekta": "Elekta",
    "lodox": "Lodox", "planmed": "Planmed", "imaging dynamics": "IDC", "picker": "Picker", "elscint": "Elscint",
}  # fmt: skip
"""How the name of a maker begins, in lower case, and what is written for it."""
SEX: Final = frozenset("MFO")
POSITION: Final = _codes("HFP HFS HFDR HFDL FFP FFS FFDR FFDL LFP LFS RFP RFS AFDR AFDL PFDR PFDL")
SCANNING: Final = frozenset(("SE", "IR", "GR", "EP", "RM"))
VARIANT: Final = frozenset(("SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "TOF", "NONE"))
SCAN_OPTIONS: Final = _codes("PER RG CG PPG FC PFF PFP SP FS CT SAT_GEMS FAST_GEMS HELICAL AXIAL SCOUT")
ACQUISITION: Final = frozenset(("2D", "3D"))
DIRECTION: Final = frozenset(("ROW", "COL", "ROWS", "COLUMN", "COLUMNS"))
VIEW: Final = _codes("AP PA LL RL RLD LLD RLO LLO MLO CC ML LM XCCL XCCM XCC FB SIO ISO CV LMO LAT OBL")
SIDE: Final = frozenset("RLBU")
UNITS: Final = _codes(
    "CNTS NONE CM2 CM2ML PCNT CPS BQML MGMINML UMOLMINML MLMING MLG 1CM UMOLML PROPCNTS PROPCPS MLMINML MLML GML "
    "STDDEV SUV"
)
CORRECTION: Final = frozenset(("NONE", "START", "ADMIN"))
YES_NO: Final = frozenset(("YES", "NO"))
