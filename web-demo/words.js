// Everything the reception page says in French, by the name that the agent gives it. MIT licence.

export const STATES = {
  searching: "Recherche de l'agent…",
  waitingForBrowser: "En attente de votre réponse au navigateur",
  waitingForPerson: "En attente de votre réponse à INSi Agent",
  connected: "Agent présent",
  refused: "Sans accès à l'agent",
  absent: "Agent absent",
};
export const ENVIRONMENTS = {
  simulated: "SIMULATION — personnes et réponses fictives : ne rien intégrer dans un dossier réel",
  test: "ENVIRONNEMENT DE TEST — ne rien intégrer dans un dossier réel",
};
export const CARDS = {
  vitale2: "Carte Vitale",
  vitale1: "Carte Vitale d'ancien modèle",
  cpx: "Carte de professionnel",
  cpxContactless: "Carte de professionnel, sans contact",
  unknown: "Carte non reconnue",
};
export const CARD_ENVIRONMENTS = { test: "Carte de test.", demo: "Carte de démonstration." };
export const MODES = { cpx: "Carte CPS", organisation: "Certificat de la structure" };
export const NEEDS = {
  "card.vitale": "Insérez la carte Vitale, et laissez-la en place.",
  "card.cpx": "Insérez votre carte CPS, et laissez-la en place.",
  pin: "Saisissez votre code dans la fenêtre de l'agent.",
  consent: "Répondez à la question de l'agent.",
  network: "INSi est interrogé…",
};
export const PIN_STATES = {
  low: "Un code faux a été saisi : il reste peu d'essais.",
  final: "Dernier essai avant le blocage de la carte.",
  locked: "La carte est bloquée.",
};
export const AUDIENCES = {
  person: "Vous pouvez y remédier.",
  it: "À transmettre à votre service informatique.",
  developer: "À transmettre à l'éditeur de cette application.",
  support: "À transmettre au support.",
};
export const OUTCOMES = {
  found: "INS trouvée",
  notFound: "Aucune identité trouvée",
  several: "Plusieurs identités possibles",
  verified: "INS vérifiée",
  notVerified: "INS non vérifiée",
};
export const ADVICE = {
  notFound: "Vérifiez les traits sur une pièce d'identité, puis recommencez.",
  several: "INSi ne dit pas lesquelles. Ajoutez tous les prénoms de la pièce d'identité, ou le lieu de naissance.",
  notVerified: "N'intégrez ni le matricule ni les données reçues : contrôlez l'identité du patient.",
};
export const KINDS = {
  NIR: "INS-NIR",
  NIA: "INS-NIA, matricule d'attente",
  "NIR-TEST": "INS-NIR de test",
  "NIR-DEMO": "INS-NIR de démonstration",
  unknown: "nature inconnue",
};
export const KIND_OF_OID = {
  "1.2.250.1.213.1.4.8": "NIR",
  "1.2.250.1.213.1.4.9": "NIA",
  "1.2.250.1.213.1.4.10": "NIR-TEST",
  "1.2.250.1.213.1.4.11": "NIR-DEMO",
};
export const TRAITS = {
  birthName: "Nom de naissance",
  givenNames: "Prénoms de naissance",
  givenNamesList: "Prénoms de naissance",
  sex: "Sexe",
  birthDate: "Date de naissance",
  birthPlaceCode: "Lieu de naissance (INSEE)",
};
export const MEMBERS = { birthName: "nom", sex: "sexe", birthDate: "date", birthPlaceCode: "lieu", nir: "NIR", nirKey: "clé", key: "clé", rank: "rang", certifiedNir: "NIR certifié" };
export const SEXES = { F: "Féminin", M: "Masculin", I: "Indéterminé" };
export const REASONS = {
  "birthName.empty": "INSi n'a pas renvoyé de nom de naissance.",
  "givenNames.empty": "INSi n'a pas renvoyé de prénom.",
  "sex.empty": "INSi n'a pas renvoyé le sexe.",
  "rank.assumed": "Le rang de naissance a été supposé, et le prénom de la carte n'est pas celui d'INSi : indiquez le rang et recommencez.",
  "oid.notIns": "Le numéro renvoyé n'est pas un INS.",
  "ins.notVerified": "INSi n'a pas reconnu cette INS avec ces traits.",
};
export const WARNINGS = {
  "rank.assumed": "Le rang de naissance n'est pas écrit sur la carte : le rang 1 a été supposé.",
  "key.mismatch": "La clé renvoyée ne correspond pas au matricule. Le matricule est gardé tel que reçu.",
  "nia.verifyAgain": "Matricule d'attente (NIA) : à vérifier à nouveau, il sera remplacé par un NIR.",
  "history.repeatsActive": "L'historique répète le matricule actif.",
  "oid.unknown": "L'OID du matricule n'est pas connu.",
  "birthPlaceCode.shape": "Le lieu de naissance n'a pas la forme d'un code INSEE. Il est gardé tel que reçu.",
  "answer.schema": "La réponse d'INSi s'écarte de son format. Elle est gardée telle que reçue.",
  "notFound.asFault": "Le service de test a répondu par une erreur, comptée comme « aucune identité trouvée ».",
  "revocation.unchecked": "La liste de révocation n'a pas pu être lue : l'état du certificat d'INSi n'est pas connu.",
  "certificate.issuerUnknown": "Le certificat de la structure vient d'une autorité inconnue.",
  "certificate.structureMissing": "Le certificat de la structure ne porte pas son identifiant.",
  "certificate.environmentUnknown": "On ne sait pas si le certificat de la structure est de test ou de production.",
  "cpx.environmentUnknown": "On ne sait pas si la carte CPS est de test ou de production.",
  "vitale.environmentUnknown": "On ne sait pas si la carte Vitale est réelle, de test ou de démonstration.",
  "environment.simulated": "Réponse du simulateur : cette personne n'existe pas.",
  "environment.test": "Réponse de l'environnement de test.",
};
export const CONTEXTS = { present: "patient présent", ahead: "avant la venue du patient", thirdParty: "données d'un tiers" };
export const NAME_RULES = {
  empty: "il n'y a aucune lettre",
  start: "le premier caractère n'est pas une lettre",
  end: "le dernier caractère n'est pas une lettre",
  spaceAndApostrophe: "deux blancs ou apostrophes se suivent",
  hyphens: "trop de tirets se suivent",
  lunar: "le jour ou le mois est inconnu",
  required: "INSi l'exige ici",
};
