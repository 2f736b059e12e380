// @ts-check
/** The account page: its forms, and a new key that is shown once. */
import { connectForms } from "./forms.js";
import { connectCopying, showSecret } from "./secret.js";

connectCopying();
connectForms({ key: (answer) => showSecret("new-key", answer.name, answer.key) });
