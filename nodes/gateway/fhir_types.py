"""What the mapping knows of FHIR R4, as data: types, whose they are, their code, their time."""


def words(text: str) -> frozenset[str]:
    """The words of a table written as one text, which reads better than a long list."""
    return frozenset(text.split())


RESOURCE_TYPES = words(
    """
    Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse
    AuditEvent Basic Binary BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement
    CarePlan CareTeam CatalogEntry ChargeItem ChargeItemDefinition Claim ClaimResponse
    ClinicalImpression CodeSystem Communication CommunicationRequest CompartmentDefinition
    Composition ConceptMap Condition Consent Contract Coverage CoverageEligibilityRequest
    CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric DeviceRequest
    DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference
    EffectEvidenceSynthesis Encounter Endpoint EnrollmentRequest EnrollmentResponse EpisodeOfCare
    EventDefinition Evidence EvidenceVariable ExampleScenario ExplanationOfBenefit
    FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse HealthcareService
    ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation
    ImplementationGuide InsurancePlan Invoice Library Linkage List Location Measure MeasureReport
    Media Medication MedicationAdministration MedicationDispense MedicationKnowledge
    MedicationRequest MedicationStatement MedicinalProduct MedicinalProductAuthorization
    MedicinalProductContraindication MedicinalProductIndication MedicinalProductIngredient
    MedicinalProductInteraction MedicinalProductManufactured MedicinalProductPackaged
    MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition
    MessageHeader MolecularSequence NamingSystem NutritionOrder Observation ObservationDefinition
    OperationDefinition OperationOutcome Organization OrganizationAffiliation Parameters Patient
    PaymentNotice PaymentReconciliation Person PlanDefinition Practitioner PractitionerRole
    Procedure Provenance Questionnaire QuestionnaireResponse RelatedPerson RequestGroup
    ResearchDefinition ResearchElementDefinition ResearchStudy ResearchSubject RiskAssessment
    RiskEvidenceSynthesis Schedule SearchParameter ServiceRequest Slot Specimen
    SpecimenDefinition StructureDefinition StructureMap Subscription Substance
    SubstanceNucleicAcid SubstancePolymer SubstanceProtein SubstanceReferenceInformation
    SubstanceSourceMaterial SubstanceSpecification SupplyDelivery SupplyRequest Task
    TerminologyCapabilities TestReport TestScript ValueSet VerificationResult VisionPrescription
    """
)

_SUBJECT_TYPES = words(
    """
    Account AdverseEvent BiologicallyDerivedProduct CarePlan CareTeam ChargeItem
    ClinicalImpression Communication CommunicationRequest Composition Condition Contract
    DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference
    Encounter Flag Goal GuidanceResponse ImagingStudy Invoice MeasureReport Media
    MedicationAdministration MedicationDispense MedicationRequest MedicationStatement
    Observation Procedure QuestionnaireResponse RequestGroup RiskAssessment ServiceRequest
    Specimen
    """
)
_PATIENT_TYPES = words(
    """
    AllergyIntolerance BodyStructure Claim ClaimResponse Consent CoverageEligibilityRequest
    CoverageEligibilityResponse DetectedIssue Device EpisodeOfCare ExplanationOfBenefit
    FamilyMemberHistory Immunization ImmunizationEvaluation ImmunizationRecommendation
    MolecularSequence NutritionOrder RelatedPerson SupplyDelivery VisionPrescription
    """
)

PATIENT_ELEMENT = {
    **dict.fromkeys(_SUBJECT_TYPES, "subject"),
    **dict.fromkeys(_PATIENT_TYPES, "patient"),
    "Basic": "subject",
    "Coverage": "beneficiary",
    "EnrollmentRequest": "candidate",
    "ResearchSubject": "individual",
    "SupplyRequest": "deliverTo",
    "Task": "for",
}
"""Resource type -> element that names the patient; types that are absent belong to none."""

PARTICIPANT_TYPES = frozenset({"Appointment"})
"""Types whose patient is one of ``participant[].actor``."""

PATIENTLESS_WITHOUT_REFERENCE = frozenset({"Basic", "Device", "SupplyRequest"})
"""Types that may belong to a patient, and to nobody when the element is absent."""

CODE_ELEMENTS = {
    "Encounter": ("type", "class"),
    "Claim": ("type",),
    "ClaimResponse": ("type",),
    "ExplanationOfBenefit": ("type",),
    "Immunization": ("vaccineCode",),
    "ImagingStudy": ("procedureCode", "modality"),
    "Goal": ("description", "category"),
    "DocumentReference": ("type", "category"),
    "Composition": ("type",),
    "Coverage": ("type",),
}
"""Elements that hold the record's code, best first; CODE_ELEMENTS_DEFAULT for the others."""
CODE_ELEMENTS_DEFAULT = ("code", "medicationCodeableConcept", "type", "category")

EFFECTIVE_ELEMENTS = (
    ("effectiveDateTime",),
    ("effectiveInstant",),
    ("effectivePeriod", "start"),
    ("performedDateTime",),
    ("performedPeriod", "start"),
    ("occurrenceDateTime",),
    ("occurrencePeriod", "start"),
    ("onsetDateTime",),
    ("onsetPeriod", "start"),
    ("billablePeriod", "start"),
    ("period", "start"),
    ("start",),
    ("started",),
    ("startDate",),
    ("authoredOn",),
    ("collection", "collectedDateTime"),
    ("whenHandedOver",),
    ("dateTime",),
    ("recordedDate",),
    ("dateAsserted",),
    ("date",),
    ("created",),
    ("issued",),
)
"""Where a record says when it happened, best first."""

STATUS_ELEMENTS = (
    "/status",
    "/lifecycleStatus",
    "/verificationStatus",
    "/clinicalStatus",
    "/doNotPerform",
)
"""Whatever a record says is misread without these, where it has them."""

STATED_ELEMENTS = (
    "/value",
    "/component",
    "/code",
    "/vaccineCode",
    "/medication",
    "/conclusion",
    "/dataAbsentReason",
    "/description",
    "/dosage",
)
"""Beginnings of the paths of what a record states; each depends on STATUS_ELEMENTS."""

SIBLING_DEPENDENCIES = {
    "value": ("comparator", "unit", "system", "code"),
    "code": ("system",),
}
"""Within one object: the first must not be shown without the others, where they are."""

DATE_NAMES = words(
    """
    birthDate date start end issued created recorded started sent received authored asserted
    recordedDate authoredOn dateAsserted startDate statusDate expirationDate servicedDate
    deceasedDateTime effectiveDateTime onsetDateTime abatementDateTime performedDateTime
    occurrenceDateTime timingDate collectedDateTime whenPrepared whenHandedOver dateTime
    """
)
"""Elements in which four digits alone are a year; longer dates are known by their form."""
